/** Drawing a fence's shape: clicks or the keyboard put corners; MapLibre's own gestures step aside. */
import type { Map as GlMap, MapMouseEvent } from "maplibre-gl";
import type { Position as Coordinate } from "geojson";
import {
  addCorner,
  cancelDraft,
  closeShape,
  draftCorners,
  removeLastCorner,
} from "../state/fences";
import type { Datum } from "./datum";

/** A second click this near the last corner belongs to a double click, not to the shape. */
const SAME_PLACE_PX = 6;

export interface Drawing {
  begin(): void;
  end(): void;
}

/**
 * Corners and pointer are WGS-84, whatever the map's datum. `onPointer` hears where the next corner
 * would be, or null when that is nowhere.
 */
export function drawingOn(
  map: GlMap,
  datum: Datum,
  onPointer: (at: Coordinate | null) => void,
): Drawing {
  function isNearLast(event: MapMouseEvent): boolean {
    const last = draftCorners.value.at(-1);
    if (last === undefined) return false;
    const there = map.project(datum.toMap(last) as [number, number]);
    return Math.hypot(there.x - event.point.x, there.y - event.point.y) < SAME_PLACE_PX;
  }

  function onClick(event: MapMouseEvent): void {
    if (!isNearLast(event)) addCorner(datum.fromMap(event.lngLat.toArray()));
  }

  function onMove(event: MapMouseEvent): void {
    onPointer(datum.fromMap(event.lngLat.toArray()));
  }

  function onDoubleClick(event: MapMouseEvent): void {
    event.preventDefault();
    closeShape();
  }

  function onKey(event: KeyboardEvent): void {
    const isTyping = event.target instanceof HTMLInputElement;
    const isOnButton = event.target instanceof HTMLButtonElement;
    if (event.key === "Escape") cancelDraft();
    else if (isTyping || isOnButton) return;
    else if (event.key === "Enter") closeShape();
    else if (event.key === "Backspace") removeLastCorner();
    else if (event.key === " ") addCorner(datum.fromMap(map.getCenter().toArray()));
    else return;
    event.preventDefault();
  }

  return {
    begin() {
      map.doubleClickZoom.disable();
      map.getCanvas().style.cursor = "crosshair";
      map.on("click", onClick);
      map.on("mousemove", onMove);
      map.on("dblclick", onDoubleClick);
      window.addEventListener("keydown", onKey);
      map.getCanvas().focus();
    },
    end() {
      map.doubleClickZoom.enable();
      map.getCanvas().style.cursor = "";
      map.off("click", onClick);
      map.off("mousemove", onMove);
      map.off("dblclick", onDoubleClick);
      window.removeEventListener("keydown", onKey);
      onPointer(null);
    },
  };
}
