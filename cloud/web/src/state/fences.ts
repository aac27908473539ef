/** Fences, and the draft of the one being drawn or changed. */
import { ref, shallowRef } from "vue";
import type { Geometry, Position as Coordinate } from "geojson";
import { list, send } from "../api/client";
import type { Fence, FenceProperties, FenceRule, Severity } from "../api/types";

export const fences = shallowRef<Fence[]>([]);

export async function loadFences(): Promise<void> {
  fences.value = await list<Fence>("/fences");
}

export const fenceName = (id: string): string =>
  fences.value.find((fence) => fence.properties.id === id)?.properties.name ?? id;

/**
 * `off`: nothing is drawn. `corners`: clicks on the map add corners. `details`: the shape is there,
 * name and rules are asked for.
 */
export type DraftStep = "off" | "corners" | "details";
export const draftStep = ref<DraftStep>("off");
/** Corners of the open ring, [longitude, latitude]. */
export const draftCorners = shallowRef<Coordinate[]>([]);
/** The fence being changed; null for a new one. */
export const draftOf = shallowRef<Fence | null>(null);

export const CORNERS_MIN = 3;

export function startDrawing(fence: Fence | null = null): void {
  draftOf.value = fence;
  draftCorners.value = [];
  draftStep.value = "corners";
}

export function editDetails(fence: Fence): void {
  draftOf.value = fence;
  draftCorners.value = [];
  draftStep.value = "details";
}

export function addCorner(corner: Coordinate): void {
  draftCorners.value = [...draftCorners.value, corner];
}

export function removeLastCorner(): void {
  draftCorners.value = draftCorners.value.slice(0, -1);
}

/** Ends the drawing; false while there are too few corners for an area. */
export function closeShape(): boolean {
  if (draftCorners.value.length < CORNERS_MIN) return false;
  draftStep.value = "details";
  return true;
}

export function cancelDraft(): void {
  draftStep.value = "off";
  draftCorners.value = [];
  draftOf.value = null;
}

export interface FenceDetails {
  name: string;
  severity: Severity;
  rules: FenceRule[];
}

/** Stores the draft: a new fence, or a new word on the known one (the server makes a version). */
export async function saveDraft(details: FenceDetails): Promise<void> {
  const known = draftOf.value;
  const drawn = draftCorners.value;
  const geometry: Geometry | undefined =
    drawn.length >= CORNERS_MIN
      ? { type: "Polygon", coordinates: [[...drawn, drawn[0] as Coordinate]] }
      : known?.geometry;
  if (geometry === undefined) throw new Error("a new fence has no shape");
  const properties: Partial<FenceProperties> = { ...known?.properties, ...details };
  // What the server says about a version, and what it decides: since when the new one holds.
  delete properties.version;
  delete properties.valid_from;
  if (drawn.length >= CORNERS_MIN) properties.datum = "wgs84";
  const feature = { type: "Feature", geometry, properties };
  if (known === null) {
    properties.id = `fence-${crypto.randomUUID().slice(0, 8)}`;
    await send("POST", "/fences", feature);
  } else {
    await send("PUT", `/fences/${encodeURIComponent(known.properties.id)}`, feature);
  }
  cancelDraft();
  await loadFences();
}
