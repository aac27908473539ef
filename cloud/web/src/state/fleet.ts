/** Vehicles, where they are, and sources that nobody has claimed yet. */
import { computed, shallowRef } from "vue";
import { get, list, send } from "../api/client";
import type { LatestPositions, Position, Source, Vehicle } from "../api/types";
import { PositionBoard, keyOf, type BoardChange, type ShownState } from "../live/board";
import { openViolationVehicles } from "./violations";

const board = new PositionBoard();
/** A human eye and a busy GPU both have enough with one redraw a second. */
const BEAT_MS = 1_000;
/** Live positions may name what the lists do not hold yet; how often these are asked at most. */
const LISTS_PAUSE_MS = 5_000;

export const positions = shallowRef<ReadonlyMap<string, Position>>(board.snapshot());
export const vehicles = shallowRef<Vehicle[]>([]);
export const unclaimedSources = shallowRef<Source[]>([]);

/** Called with every change of the board, in order: the map draws differences only. */
type ChangeListener = (change: BoardChange) => void;
const listeners = new Set<ChangeListener>();

export function onPositions(listener: ChangeListener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function publish(change: BoardChange): void {
  if (change.changed.length === 0 && change.removed.length === 0) return;
  positions.value = board.snapshot();
  for (const listener of listeners) listener(change);
  if (change.changed.some(isUnlisted)) reloadLists();
}

const listed = computed(
  () =>
    new Set([
      ...vehicles.value.map(({ id }) => keyOf({ vehicle_id: id, source: "" })),
      ...unclaimedSources.value.map(({ source }) => keyOf({ vehicle_id: null, source })),
    ]),
);

const isUnlisted = (position: Position): boolean => !listed.value.has(keyOf(position));

let listsAsked_ms = 0;

function reloadLists(): void {
  if (Date.now() - listsAsked_ms < LISTS_PAUSE_MS) return;
  void Promise.allSettled([loadVehicles(), loadUnclaimedSources()]);
}

export function takePositions(data: unknown): void {
  board.take((data as { items: Position[] }).items);
}

export async function loadPositions(): Promise<void> {
  const latest = await get<LatestPositions>("/positions/latest");
  publish(board.reload(latest.features.map(({ properties }) => properties)));
}

export async function loadVehicles(): Promise<void> {
  listsAsked_ms = Date.now();
  vehicles.value = await list<Vehicle>("/vehicles");
}

export async function loadUnclaimedSources(): Promise<void> {
  unclaimedSources.value = await list<Source>("/sources", { unclaimed: true });
}

/** Binds a source to a vehicle; without `valid_from` the server decides since when. */
export async function claimSource(source: string, vehicle_id: string): Promise<void> {
  await send("POST", "/bindings", { source, vehicle_id });
  await Promise.all([loadUnclaimedSources(), loadPositions()]);
}

/** Enters a vehicle under its plate; returns its id, which has no blanks. */
export async function createVehicle(plate: string): Promise<string> {
  const id = plate.replace(/\s+/g, "");
  await send("POST", "/vehicles", { id, plate });
  await loadVehicles();
  return id;
}

/** What the map and the list show: an open violation outweighs how the truck moves. */
export function shownState(position: Position): ShownState {
  if (position.vehicle_id === null) return "unclaimed";
  if (position.state === "offline") return "offline";
  const isViolating =
    position.is_violating || openViolationVehicles.value.has(position.vehicle_id);
  return isViolating ? "violating" : position.state;
}

export const onlineCount = computed(
  () =>
    [...positions.value.values()].filter(
      (item) => item.vehicle_id !== null && item.state !== "offline",
    ).length,
);

/** Starts the beat; returns how to stop it. */
export function startBoard(): () => void {
  const beat = setInterval(() => publish(board.flush()), BEAT_MS);
  return () => clearInterval(beat);
}
