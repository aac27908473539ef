/** Where everybody is: merges readings as they come and says, once a beat, what changed. Pure. */
import type { Position, TruckState } from "../api/types";

/** One mark on the map: a vehicle, or a source nobody has claimed yet. */
export function keyOf(position: Pick<Position, "vehicle_id" | "source">): string {
  return position.vehicle_id === null ? `source:${position.source}` : `vehicle:${position.vehicle_id}`;
}

/** What a mark looks like: a truck's state, or that the source belongs to nobody yet. */
export type ShownState = TruckState | "violating" | "unclaimed";

/** Slower than a walk is noise of a parked truck's receiver. */
const MOVING_FROM_KMH = 2;

export const isMoving = (position: Position): boolean =>
  (position.speed_kmh ?? 0) >= MOVING_FROM_KMH;

/** What a position is newest by: of a clock that is ahead, when the server had it. */
const toldAt_ms = ({ device_time, stored_time }: Position): number =>
  Math.min(Date.parse(device_time), Date.parse(stored_time));

export interface BoardChange {
  changed: Position[];
  removed: string[];
}

export class PositionBoard {
  private readonly shown = new Map<string, Position>();
  private readonly waiting = new Map<string, Position>();

  /** Keeps what is not older than what is known; the last of a beat wins. */
  take(items: readonly Position[]): void {
    for (const item of items) {
      const key = keyOf(item);
      const known = this.waiting.get(key) ?? this.shown.get(key);
      if (known === undefined || toldAt_ms(item) >= toldAt_ms(known)) {
        this.waiting.set(key, item);
      }
    }
  }

  /** Replaces everything: what the latest answer does not name is gone, newer live readings stay. */
  reload(items: readonly Position[]): BoardChange {
    const named = new Set(items.map(keyOf));
    const removed = [...this.shown.keys()].filter((key) => !named.has(key));
    for (const key of removed) this.shown.delete(key);
    this.take(items);
    const change = this.flush();
    return { changed: change.changed, removed: [...removed, ...change.removed] };
  }

  /** Shows what waits. A source that now speaks for a vehicle loses its own unclaimed mark. */
  flush(): BoardChange {
    const changed = [...this.waiting.values()];
    const removed: string[] = [];
    for (const [key, item] of this.waiting) {
      this.shown.set(key, item);
      const unclaimed = `source:${item.source}`;
      if (item.vehicle_id !== null && this.shown.delete(unclaimed)) removed.push(unclaimed);
    }
    this.waiting.clear();
    return { changed, removed };
  }

  snapshot(): ReadonlyMap<string, Position> {
    return new Map(this.shown);
  }
}
