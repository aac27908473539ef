/** The live map: makes it, keeps it in step with the state, and takes it down again. */
import {
  AttributionControl,
  Map as GlMap,
  ScaleControl,
  type GeoJSONSource,
  type MapMouseEvent,
} from "maplibre-gl";
import type { FeatureCollection, GeoJSON, Position as Coordinate } from "geojson";
import { watch, type WatchStopHandle } from "vue";
import { formatQuantity } from "../format";
import type { BoardChange } from "../live/board";
import { keyOf } from "../live/board";
import { draftCorners, draftStep, fences } from "../state/fences";
import { onPositions, positions, shownState } from "../state/fleet";
import {
  focus,
  selectFence,
  selectTruck,
  selectedFenceId,
  selectedKey,
  selectedViolation,
  tail,
  track,
} from "../state/selection";
import { settings, showInstant } from "../state/settings";
import { openViolationVehicles } from "../state/violations";
import { language, t, word } from "../text";
import { convert, datumOf, type Datum } from "./datum";
import { drawingOn } from "./drawing";
import {
  draftFeatures,
  evidenceFeatures,
  fenceFeatures,
  ruleText,
  trackFeatures,
  truckFeature,
} from "./features";
import { boundsOf, graticule, type Bounds } from "./geometry";
import { addIcons } from "./icons";
import { TRUCK_LAYERS, mapStyle, type SourceName } from "./layers";
import type { Palette } from "./palette";

export interface MapView {
  zoomBy(steps: number): void;
  showAll(): void;
  remove(): void;
}

interface Camera {
  center: [number, number];
  zoom: number;
}

/** Survives a change of colour scheme, for which the map is made anew. */
let lastCamera: Camera | null = null;

/** Near enough to tell a truck's street. */
const TRUCK_ZOOM = 13;
/** A short stretch is shown with the streets around it. */
const FIT_ZOOM_MAX = 14.5;
/** How far beside a small mark a finger or a mouse still means it. */
const REACH_PX = 6;

/** Throws if the browser gives no WebGL. */
export function openMap(container: HTMLElement, palette: Palette, streets: GeoJSON | null): MapView {
  const { tile_url, datum: tileDatum, zoom: homeZoom } = settings.value;
  // The plain map is drawn from our own data and needs no shift.
  const datum = datumOf(tile_url === null ? "wgs84" : tileDatum);
  const home = datum.toMap(settings.value.center) as [number, number];
  const { center, zoom } = lastCamera ?? { center: home, zoom: homeZoom };
  const map = new GlMap({
    container,
    style: mapStyle(palette, settings.value),
    center,
    zoom,
    maxZoom: 20,
    attributionControl: false,
    dragRotate: false,
    pitchWithRotate: false,
    maxPitch: 0,
    renderWorldCopies: false,
    fadeDuration: 0,
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  map.addControl(new ScaleControl({ maxWidth: 110 }), "bottom-left");
  if (tile_url !== null) {
    map.addControl(new AttributionControl({ compact: true }), "bottom-right");
  }

  const stops: (() => void)[] = [];
  map.once("load", () => {
    addIcons(map, palette);
    if (streets !== null) show("streets", streets);
    stops.push(...follow(map, datum, show));
    if (lastCamera === null) stops.push(watch(positions, showAllOnce, { immediate: true }));
  });
  map.on("moveend", () => {
    lastCamera = { center: map.getCenter().toArray(), zoom: map.getZoom() };
  });

  function show(name: SourceName, data: GeoJSON): void {
    void map.getSource<GeoJSONSource>(name)?.setData(convert(data, datum.toMap));
  }

  let hasLooked = false;

  /** Goes where the trucks are when the configured view, looked at first, shows none of them. */
  function showAllOnce(): void {
    if (hasLooked || positions.value.size === 0) return;
    hasLooked = true;
    if (!isAnyTruckIn(map, datum)) showAll();
  }

  function showAll(): void {
    const points = [...positions.value.values()].map(
      (item): Coordinate => [item.longitude_deg, item.latitude_deg],
    );
    const bounds = boundsOf({ type: "MultiPoint", coordinates: points });
    if (bounds === null) map.easeTo({ center: home, zoom: homeZoom });
    else fit(map, datum, bounds);
  }

  return {
    zoomBy: (steps) => map.zoomTo(Math.round(map.getZoom()) + steps),
    showAll,
    remove() {
      for (const stop of stops) stop();
      map.remove();
    },
  };
}

function fit(map: GlMap, datum: Datum, [west, south, east, north]: Bounds): void {
  const { clientWidth, clientHeight } = map.getContainer();
  const padding = Math.min(80, clientWidth / 6, clientHeight / 6);
  const corners = [datum.toMap([west, south]), datum.toMap([east, north])];
  map.fitBounds(corners as [[number, number], [number, number]], {
    padding,
    maxZoom: FIT_ZOOM_MAX,
    duration: 700,
  });
}

function isAnyTruckIn(map: GlMap, datum: Datum): boolean {
  const view = map.getBounds();
  return [...positions.value.values()].some((item) =>
    view.contains(datum.toMap([item.longitude_deg, item.latitude_deg]) as [number, number]),
  );
}

type Show = (name: SourceName, data: GeoJSON) => void;

/** Ties every subject of the map to its state; returns how to untie them. */
function follow(map: GlMap, datum: Datum, show: Show): WatchStopHandle[] {
  const now = { immediate: true };
  return [
    ...followTrucks(map, datum, show),
    watch(
      [fences, selectedFenceId, language],
      () => show("fences", fenceCollection()),
      now,
    ),
    watch(language, () => map.getCanvas().setAttribute("aria-label", t("map.label")), now),
    watch([track, tail], () => show("track", trackFeatures(track.value, tail.value)), now),
    watch(
      [selectedViolation, language],
      () =>
        show("evidence", evidenceFeatures(selectedViolation.value?.evidence ?? null, describe)),
      now,
    ),
    watch(focus, (wish) => {
      if (wish === null) return;
      if ("bounds" in wish) {
        fit(map, datum, wish.bounds);
      } else {
        const center = datum.toMap(wish.point) as [number, number];
        map.easeTo({ center, zoom: Math.max(map.getZoom(), TRUCK_ZOOM) });
      }
    }),
    followDraft(map, datum, show),
    followGrid(map, show),
    followClicks(map),
  ];
}

function describe(device_time: string, speed_kmh: number | null): string {
  const time = showInstant(device_time);
  return speed_kmh === null ? time : `${time}\n${formatQuantity("speed_kmh", speed_kmh)}`;
}

function fenceCollection(): FeatureCollection {
  const name = (rule: string): string => word("rule", rule);
  return {
    type: "FeatureCollection",
    features: fences.value.flatMap((fence) => {
      const { id, name: title, rules } = fence.properties;
      const label = [title, ...rules.map((rule) => ruleText(rule, name))].join("\n");
      return fenceFeatures(fence, label, id === selectedFenceId.value);
    }),
  };
}

function followTrucks(map: GlMap, datum: Datum, show: Show): (() => void)[] {
  const source = map.getSource<GeoJSONSource>("trucks");
  const all = (): FeatureCollection => ({
    type: "FeatureCollection",
    features: [...positions.value].map(([key, position]) =>
      truckFeature(key, position, shownState(position)),
    ),
  });
  const shown = new Set<string>();
  const showAllTrucks = (): void => {
    shown.clear();
    for (const key of positions.value.keys()) shown.add(key);
    show("trucks", all());
  };
  const showChange = ({ changed, removed }: BoardChange): void => {
    const features = changed.map((position) =>
      truckFeature(keyOf(position), position, shownState(position)),
    );
    const add = features.filter(({ properties }) => !shown.has(properties.key));
    const update = features
      .filter(({ properties }) => shown.has(properties.key))
      .map(({ geometry, properties }) => ({
        id: properties.key,
        newGeometry: convert(geometry, datum.toMap),
        addOrUpdateProperties: Object.entries(properties).map(([key, value]) => ({ key, value })),
      }));
    for (const { properties } of add) shown.add(properties.key);
    for (const key of removed) shown.delete(key);
    const added = add.map((feature) => convert(feature, datum.toMap));
    void source?.updateData({ add: added, update, remove: removed });
  };
  return [
    onPositions(showChange),
    watch(openViolationVehicles, showAllTrucks, { immediate: true }),
    watch(
      selectedKey,
      (key) => map.setFilter("trucks-selected", ["==", ["get", "key"], key ?? ""]),
      { immediate: true },
    ),
  ];
}

function followDraft(map: GlMap, datum: Datum, show: Show): () => void {
  let pointer: Coordinate | null = null;
  const showDraft = (): void => show("draft", draftFeatures(draftCorners.value, pointer));
  const drawing = drawingOn(map, datum, (at) => {
    pointer = at;
    showDraft();
  });
  const stops = [
    watch(draftCorners, showDraft),
    watch(
      draftStep,
      (step, before) => {
        if (step === "corners") drawing.begin();
        else if (before === "corners") drawing.end();
      },
      { immediate: true },
    ),
  ];
  return () => {
    for (const stop of stops) stop();
    if (draftStep.value === "corners") drawing.end();
  };
}

function followGrid(map: GlMap, show: Show): () => void {
  if (settings.value.tile_url !== null) return () => undefined;
  const showGrid = (): void => {
    const view = map.getBounds();
    show("grid", graticule([view.getWest(), view.getSouth(), view.getEast(), view.getNorth()]));
  };
  showGrid();
  map.on("moveend", showGrid);
  map.on("resize", showGrid);
  return () => {
    map.off("moveend", showGrid);
    map.off("resize", showGrid);
  };
}

/** A click selects the truck there, else the fence there, else nothing. */
function followClicks(map: GlMap): () => void {
  const onClick = ({ point }: MapMouseEvent): void => {
    if (draftStep.value === "corners") return;
    const near: [[number, number], [number, number]] = [
      [point.x - REACH_PX, point.y - REACH_PX],
      [point.x + REACH_PX, point.y + REACH_PX],
    ];
    const [truck] = map.queryRenderedFeatures(near, { layers: TRUCK_LAYERS });
    if (truck !== undefined) {
      selectTruck(String(truck.properties["key"]), false);
      return;
    }
    const [fence] = map.queryRenderedFeatures(point, { layers: ["fences-fill", "fences-corridor"] });
    selectFence(fence === undefined ? null : String(fence.properties["id"]), false);
  };
  const setCursor = (cursor: string) => () => {
    if (draftStep.value !== "corners") map.getCanvas().style.cursor = cursor;
  };
  const point = setCursor("pointer");
  const rest = setCursor("");
  map.on("click", onClick);
  map.on("mouseenter", TRUCK_LAYERS, point);
  map.on("mouseleave", TRUCK_LAYERS, rest);
  return () => {
    map.off("click", onClick);
    map.off("mouseenter", TRUCK_LAYERS, point);
    map.off("mouseleave", TRUCK_LAYERS, rest);
  };
}
