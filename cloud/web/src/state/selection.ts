/** What the user looks at: a truck and its track, a violation, a fence; and where the map goes. */
import { ref, shallowRef } from "vue";
import type { GeoJSON, Position as Coordinate } from "geojson";
import { get } from "../api/client";
import type { Battery, Page, Violation } from "../api/types";
import { onPositions, positions } from "./fleet";
import { fences } from "./fences";
import { keyOf } from "../live/board";
import { fenceShape } from "../map/features";
import { boundsOf, type Bounds } from "../map/geometry";

export const selectedKey = ref<string | null>(null);
export const selectedViolation = shallowRef<Violation | null>(null);
export const selectedFenceId = ref<string | null>(null);

export const RANGES_H = [1, 3, 12, 24] as const;
export const rangeHours = ref<number>(3);
/** From and to of the track shown, RFC 3339; a violation's own time when it came from one. */
export const trackSpan = shallowRef<{ from: string; to: string } | null>(null);
export const track = shallowRef<GeoJSON | null>(null);
/** Where the truck has been since its track was read. */
export const tail = shallowRef<Coordinate[]>([]);
/** Over an hour at one a second; then the track is read anew. */
const TAIL_LENGTH_MAX = 4_000;
export const trackState = ref<"none" | "loading" | "ready" | "failed">("none");
const BATTERY_READINGS_MAX = 50;
export const battery = shallowRef<Battery | null>(null);

/** A wish for the map; each is a new object, so asking twice for one place works. */
export const focus = shallowRef<{ bounds: Bounds } | { point: [number, number] } | null>(null);

export function selectTruck(key: string | null, move = true): void {
  selectedKey.value = key;
  track.value = null;
  tail.value = [];
  trackState.value = "none";
  trackSpan.value = null;
  battery.value = null;
  const position = key === null ? undefined : positions.value.get(key);
  if (position === undefined) return;
  if (move) focus.value = { point: [position.longitude_deg, position.latitude_deg] };
  if (position.vehicle_id === null) return;
  void loadTrack();
  void loadBattery(position.vehicle_id);
}

/** The selected vehicle's track of the last hours, or of the span that was asked for. */
export async function loadTrack(): Promise<void> {
  const key = selectedKey.value;
  const position = key === null ? undefined : positions.value.get(key);
  if (position === undefined || position.vehicle_id === null) return;
  const span = trackSpan.value ?? lastHours(position.device_time);
  tail.value = [];
  trackState.value = "loading";
  try {
    const answer = await get<GeoJSON>(
      `/vehicles/${encodeURIComponent(position.vehicle_id)}/track`,
      { ...span, format: "geojson" },
    );
    if (selectedKey.value !== key) return;
    track.value = answer;
    trackState.value = "ready";
  } catch {
    if (selectedKey.value === key) trackState.value = "failed";
  }
}

/** Lets the shown track grow with its truck, unless it shows a time that is past. */
export function followSelected(): () => void {
  return onPositions(({ changed }) => {
    const position = changed.find((item) => keyOf(item) === selectedKey.value);
    if (position === undefined || trackSpan.value !== null) return;
    // Chosen before it was anywhere: a source just claimed.
    if (trackState.value === "none") void loadTrack();
    if (trackState.value !== "ready") return;
    if (tail.value.length >= TAIL_LENGTH_MAX) void loadTrack();
    else tail.value = [...tail.value, [position.longitude_deg, position.latitude_deg]];
  });
}

/** Counted back from the truck's last reading: a truck parked since yesterday still has a track. */
function lastHours(until: string): { from: string; to: string } {
  const to_ms = Date.parse(until);
  return {
    from: new Date(to_ms - rangeHours.value * 3_600_000).toISOString(),
    to: new Date(to_ms + 1_000).toISOString(),
  };
}

/** The newest reading that says the charge; some say only voltages. */
async function loadBattery(vehicle_id: string): Promise<void> {
  try {
    const page = await get<Page<Battery>>(`/vehicles/${encodeURIComponent(vehicle_id)}/battery`, {
      limit: BATTERY_READINGS_MAX,
    });
    if (selectedKey.value !== `vehicle:${vehicle_id}`) return;
    battery.value = page.items.find(({ soc_percent }) => soc_percent !== null) ?? null;
  } catch {
    battery.value = null; // a diesel truck has none; its card simply does not speak of it
  }
}

/** A violation's place: its evidence, or else its fence. */
export function selectViolation(violation: Violation | null): void {
  selectedViolation.value = violation;
  if (violation === null) return;
  const fence = fences.value.find(({ properties }) => properties.id === violation.fence_id);
  const bounds = boundsOf(violation.evidence) ?? boundsOf(fence ? fenceShape(fence) : null);
  if (bounds !== null) focus.value = { bounds };
}

/** Shows the truck's way around a violation: ten minutes before until ten after. */
export function showViolationTrack(violation: Violation): void {
  selectTruck(`vehicle:${violation.vehicle_id}`, false);
  const margin_ms = 600_000;
  const until_ms = violation.ended_at === null ? Date.now() : Date.parse(violation.ended_at);
  trackSpan.value = {
    from: new Date(Date.parse(violation.began_at) - margin_ms).toISOString(),
    to: new Date(until_ms + margin_ms).toISOString(),
  };
  void loadTrack();
}

export function selectFence(id: string | null, move = true): void {
  selectedFenceId.value = id;
  const fence = fences.value.find(({ properties }) => properties.id === id);
  const bounds = boundsOf(fence ? fenceShape(fence) : null);
  if (move && bounds !== null) focus.value = { bounds };
}
