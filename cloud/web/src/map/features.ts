/** What the console knows, as features that the layers can draw. Pure. */
import type { Feature, FeatureCollection, GeoJSON, Geometry, Point, Polygon, Position as Coordinate } from "geojson";
import type { Evidence, Fence, FenceRule, Position } from "../api/types";
import { isMoving, type ShownState } from "../live/board";
import { convert, datumOf } from "./datum";
import { linesOf } from "./geometry";

const METRES_PER_PIXEL_ZOOM0 = 40_075_016.686 / 512;
const METRES_PER_DEGREE = 111_195;
const CIRCLE_CORNERS = 72;

export interface TruckProperties {
  key: string;
  icon: string;
  rotation_deg: number;
  label: string;
  rank: number;
}

const RANKS = { offline: 0, unclaimed: 1, stopped: 2, moving: 3, violating: 4 } as const;

export function truckFeature(
  key: string,
  position: Position,
  state: ShownState,
): Feature<Point, TruckProperties> {
  const pointsAhead = state === "moving" || (state === "violating" && isMoving(position));
  return {
    type: "Feature",
    geometry: { type: "Point", coordinates: [position.longitude_deg, position.latitude_deg] },
    properties: {
      key,
      icon: state === "violating" && !pointsAhead ? "violating-still" : state,
      rotation_deg: pointsAhead ? (position.heading_deg ?? 0) : 0,
      label: position.plate ?? position.vehicle_id ?? position.source,
      rank: RANKS[state],
    },
  };
}

/** The ring of a circle, close enough to see: corners on the true radius. */
export function circleRing(centre: Coordinate, radius_m: number): Coordinate[] {
  const [longitude = 0, latitude = 0] = centre;
  const perDegree = METRES_PER_DEGREE * Math.cos((latitude * Math.PI) / 180);
  return Array.from({ length: CIRCLE_CORNERS + 1 }, (_, corner) => {
    const angle = (2 * Math.PI * corner) / CIRCLE_CORNERS;
    return [
      longitude + (radius_m * Math.cos(angle)) / perDegree,
      latitude + (radius_m * Math.sin(angle)) / METRES_PER_DEGREE,
    ];
  });
}

/** A fence's geometry in WGS-84: it is kept in the datum it was drawn in. */
export const fenceShape = ({ geometry, properties }: Fence): Geometry =>
  convert(geometry, datumOf(properties.datum ?? "wgs84").fromMap);

/**
 * A fence as the map draws it: circles become rings, corridors say how wide they are. Its name is a
 * point of its own: an area is cut into tiles, and each of them would carry the name again.
 */
export function fenceFeatures(fence: Fence, label: string, isSelected: boolean): Feature[] {
  const { id, severity = "warning", radius_m, half_width_m } = fence.properties;
  const properties: Record<string, unknown> = { id, severity, selected: isSelected };
  let geometry = fenceShape(fence);
  if (geometry.type === "Point" && radius_m !== undefined) {
    geometry = { type: "Polygon", coordinates: [circleRing(geometry.coordinates, radius_m)] };
  }
  if (geometry.type === "LineString" && half_width_m !== undefined) {
    const latitude = geometry.coordinates[0]?.[1] ?? 0;
    properties["width_zoom0_px"] =
      (2 * half_width_m) / (METRES_PER_PIXEL_ZOOM0 * Math.cos((latitude * Math.PI) / 180));
  }
  const name: Point = { type: "Point", coordinates: labelPoint(geometry) };
  return [
    { type: "Feature", geometry, properties },
    { type: "Feature", geometry: name, properties: { id, severity, label } },
  ];
}

/** Where a fence's name stands: the middle of a line, the centre of an area's (first) outer ring. */
function labelPoint(geometry: Geometry): Coordinate {
  if (geometry.type === "LineString") {
    return geometry.coordinates[Math.floor(geometry.coordinates.length / 2)] ?? [0, 0];
  }
  const ring =
    geometry.type === "Polygon"
      ? geometry.coordinates[0]
      : geometry.type === "MultiPolygon"
        ? geometry.coordinates[0]?.[0]
        : undefined;
  return ring === undefined ? [0, 0] : centroid(ring);
}

/** Centre of area of a closed ring; its first corner when it has no area. */
export function centroid(ring: readonly Coordinate[]): Coordinate {
  // Counted from the first corner: degrees far from 0 would lose digits to cancellation.
  const [x0 = 0, y0 = 0] = ring[0] ?? [];
  let [area, x, y] = [0, 0, 0];
  for (let at = 1; at < ring.length; at += 1) {
    const [x1 = 0, y1 = 0] = ring[at - 1] as Coordinate;
    const [x2 = 0, y2 = 0] = ring[at] as Coordinate;
    const cross = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0);
    area += cross;
    x += (x1 + x2 - 2 * x0) * cross;
    y += (y1 + y2 - 2 * y0) * cross;
  }
  return area === 0 ? [x0, y0] : [x0 + x / (3 * area), y0 + y / (3 * area)];
}

/** `限速 40 km/h`, `禁止驶入`: a rule in a few words; `word` translates its name. */
export function ruleText(rule: FenceRule, word: (name: string) => string): string {
  const limit = typeof rule.limit_kmh === "number" ? ` ${rule.limit_kmh} km/h` : "";
  const hours = typeof rule.hours === "string" ? ` (${rule.hours})` : "";
  return `${word(rule.rule)}${limit}${hours}`;
}

/** A track with its two ends marked; `tail` is where the truck went since it was read. */
export function trackFeatures(track: GeoJSON | null, tail: Coordinate[] = []): FeatureCollection {
  const lines = linesOf(track).filter((line) => line.length > 0);
  const last = lines.at(-1)?.at(-1);
  if (tail.length > 0) lines.push(last === undefined ? tail : [last, ...tail]);
  const end = (coordinates: Coordinate | undefined, name: string): Feature[] =>
    coordinates === undefined
      ? []
      : [{ type: "Feature", geometry: { type: "Point", coordinates }, properties: { end: name } }];
  return {
    type: "FeatureCollection",
    features: [
      ...lines.filter((line) => line.length > 1).map(
        (coordinates): Feature => ({
          type: "Feature",
          geometry: { type: "LineString", coordinates },
          properties: {},
        }),
      ),
      ...end(lines.at(0)?.at(0), "start"),
      ...end(lines.at(-1)?.at(-1), "finish"),
    ],
  };
}

/** The readings that show a violation, each with its words, and the way through them. */
export function evidenceFeatures(
  evidence: Evidence | null,
  describe: (device_time: string, speed_kmh: number | null) => string,
): FeatureCollection {
  if (evidence === null) return { type: "FeatureCollection", features: [] };
  const { geometry, properties } = evidence;
  const points = geometry.coordinates.map((coordinates, at): Feature => {
    const time = properties.device_times[at] ?? "";
    return {
      type: "Feature",
      geometry: { type: "Point", coordinates },
      properties: { label: describe(time, properties.speeds_kmh[at] ?? null) },
    };
  });
  const way: Feature = {
    type: "Feature",
    geometry: { type: "LineString", coordinates: geometry.coordinates },
    properties: {},
  };
  const features = points.length > 1 ? [way, ...points] : points;
  return { type: "FeatureCollection", features };
}

/** The open ring under construction: its area so far, its edges, its corners. */
export function draftFeatures(corners: Coordinate[], pointer: Coordinate | null): FeatureCollection {
  const ring = pointer === null ? corners : [...corners, pointer];
  const closed = [...ring, ...ring.slice(0, 1)];
  const features: Feature[] = corners.map((coordinates) => ({
    type: "Feature",
    geometry: { type: "Point", coordinates },
    properties: {},
  }));
  if (ring.length >= 2) {
    features.push({
      type: "Feature",
      geometry: { type: "LineString", coordinates: closed },
      properties: {},
    });
  }
  if (ring.length >= 3) {
    const geometry: Polygon = { type: "Polygon", coordinates: [closed] };
    features.push({ type: "Feature", geometry, properties: {} });
  }
  return { type: "FeatureCollection", features };
}
