/** What the API says, as far as the console reads it. Keys carry units; times are RFC 3339. */
import type { Feature, FeatureCollection, Geometry, MultiPoint } from "geojson";

export type TruckState = "moving" | "stopped" | "offline";
export type Severity = "info" | "warning" | "serious";

export interface Position {
  vehicle_id: string | null;
  source: string;
  plate: string | null;
  latitude_deg: number;
  longitude_deg: number;
  speed_kmh: number | null;
  heading_deg: number | null;
  device_time: string;
  stored_time: string;
  state: TruckState;
  is_violating: boolean;
  time_quality: "source" | "gateway" | "bounded" | "unusable";
  odometer_km: number | null;
}

export interface Vehicle {
  id: string;
  plate: string | null;
  vin: string | null;
  energy: string | null;
  class: string | null;
  tags: string[];
  enterprise_id: string | null;
}

export interface Source {
  source: string;
  gateway_id: string | null;
  last_received_time: string | null;
}

export interface FenceRule {
  rule: string;
  hours?: string;
  limit_kmh?: number;
  limit_s?: number;
  [limit: string]: unknown;
}

export interface FenceProperties {
  id: string;
  name: string;
  severity: Severity;
  rules: FenceRule[];
  version: number;
  radius_m?: number;
  half_width_m?: number;
  datum?: string;
  valid_from?: string | null;
  valid_to?: string | null;
  [setting: string]: unknown;
}

export type Fence = Feature<Geometry, FenceProperties>;

/** The readings around a violation's beginning, in order of time; values are the points' own. */
export type Evidence = Feature<
  MultiPoint,
  { device_times: string[]; speeds_kmh: (number | null)[] }
>;

export interface Violation {
  id: string | number;
  visit_id: string | number | null;
  vehicle_id: string;
  plate: string | null;
  fence_id: string;
  fence_name: string | null;
  rule: string;
  severity: Severity;
  state: string;
  began_at: string;
  ended_at: string | null;
  certainty: "certain" | "possible";
  detail: Record<string, unknown> | null;
  evidence: Evidence | null;
  amended: unknown;
}

export interface Battery {
  device_time: string;
  soc_percent: number | null;
  range_km: number | null;
}

/** A gateway as it is listed: with what each lane of each epoch has delivered. */
export interface Gateway {
  id: string;
  epochs: { lanes: { stored: number }[] }[];
}

/** A gateway as the stream shows it: its sums. */
export interface GatewayFigures {
  id: string;
  stored: number;
}

export interface Page<Item> {
  items: Item[];
  next: string | null;
}

export interface ConsoleSettings {
  tile_url: string | null;
  tile_attribution: string | null;
  datum: string;
  center: [number, number];
  zoom: number;
  timezone: string;
  streets: string | null;
}

export interface SessionAnswer {
  csrf_token: string;
  user: { name: string; role: string } | null;
}

export type LatestPositions = FeatureCollection<Geometry, Position>;
