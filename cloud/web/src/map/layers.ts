/** What the map draws, from the ground up. One GeoJSON source a subject; data comes later. */
import type {
  ExpressionSpecification,
  GeoJSONSourceSpecification,
  LayerSpecification,
  StyleSpecification,
} from "maplibre-gl";
import type { ConsoleSettings } from "../api/types";
import { FONT, byZoom } from "./expressions";
import { gridLabels, ground, streets } from "./ground";
import type { Palette } from "./palette";

export type SourceName =
  "grid" | "streets" | "fences" | "evidence" | "track" | "draft" | "trucks";

const EMPTY: GeoJSONSourceSpecification = {
  type: "geojson",
  data: { type: "FeatureCollection", features: [] },
};

const toneOf = (palette: Palette): ExpressionSpecification => [
  "match",
  ["get", "severity"],
  "serious",
  palette.serious,
  "info",
  palette.info,
  palette.warning,
];

/** Metres on the ground as pixels: one tile of 512 px is the equator at zoom 0. */
function metresWide(): ExpressionSpecification {
  const atZoomZero = ["get", "width_zoom0_px"] as ExpressionSpecification;
  return [
    "interpolate",
    ["exponential", 2],
    ["zoom"],
    0,
    atZoomZero,
    22,
    ["*", atZoomZero, 2 ** 22],
  ];
}

function fences(palette: Palette): LayerSpecification[] {
  const tone = toneOf(palette);
  const isSelected: ExpressionSpecification = ["==", ["get", "selected"], true];
  return [
    {
      id: "fences-fill",
      type: "fill",
      source: "fences",
      filter: ["==", ["geometry-type"], "Polygon"],
      paint: {
        "fill-color": tone,
        "fill-opacity": ["case", isSelected, 0.22, 0.1],
      },
    },
    {
      id: "fences-corridor",
      type: "line",
      source: "fences",
      filter: ["has", "width_zoom0_px"],
      layout: { "line-cap": "round", "line-join": "round" },
      paint: { "line-color": tone, "line-opacity": 0.18, "line-width": metresWide() },
    },
    {
      id: "fences-edge",
      type: "line",
      source: "fences",
      filter: ["==", ["geometry-type"], "Polygon"],
      layout: { "line-join": "round" },
      paint: {
        "line-color": tone,
        "line-width": ["case", isSelected, 3, 1.6],
        "line-dasharray": [3, 1.6],
      },
    },
  ];
}

/** Above tracks: a name that is crossed out says nothing. */
function fenceNames(palette: Palette): LayerSpecification[] {
  return [
    {
      id: "fences-name",
      type: "symbol",
      source: "fences",
      minzoom: 9.5,
      filter: ["has", "label"],
      layout: {
        "text-field": ["get", "label"],
        "text-font": FONT,
        "text-size": byZoom(10, 10.5, 15, 13),
        "text-max-width": 9,
        "text-line-height": 1.25,
        "text-variable-anchor": ["center", "top", "bottom", "left", "right"],
        "text-radial-offset": 1.2,
      },
      paint: {
        "text-color": toneOf(palette),
        "text-halo-color": palette.halo,
        "text-halo-width": 1.6,
      },
    },
  ];
}

function way(palette: Palette): LayerSpecification[] {
  const layout = { "line-cap": "round", "line-join": "round" } as const;
  const isLine: ExpressionSpecification = ["==", ["geometry-type"], "LineString"];
  return [
    {
      id: "track-edge",
      type: "line",
      source: "track",
      filter: isLine,
      layout,
      paint: { "line-color": palette.trackEdge, "line-width": byZoom(9, 4, 16, 11) },
    },
    {
      id: "track",
      type: "line",
      source: "track",
      filter: isLine,
      layout,
      paint: { "line-color": palette.track, "line-width": byZoom(9, 2.2, 16, 7) },
    },
    {
      id: "track-arrows",
      type: "symbol",
      source: "track",
      filter: isLine,
      minzoom: 12,
      layout: {
        "symbol-placement": "line",
        "symbol-spacing": 70,
        "icon-image": "chevron",
        "icon-size": byZoom(12, 0.55, 16, 0.9),
        "icon-allow-overlap": true,
      },
    },
    {
      id: "evidence-line",
      type: "line",
      source: "evidence",
      filter: isLine,
      layout,
      paint: { "line-color": palette.serious, "line-width": byZoom(9, 1.5, 16, 3) },
    },
    {
      id: "evidence-point",
      type: "circle",
      source: "evidence",
      filter: ["==", ["geometry-type"], "Point"],
      paint: {
        "circle-color": palette.serious,
        "circle-radius": 5.5,
        "circle-stroke-color": palette.edge,
        "circle-stroke-width": 2,
      },
    },
    {
      id: "evidence-words",
      type: "symbol",
      source: "evidence",
      minzoom: 13,
      filter: ["has", "label"],
      layout: {
        "text-field": ["get", "label"],
        "text-font": FONT,
        "text-size": 11,
        "text-variable-anchor": ["bottom", "top", "left", "right"],
        "text-radial-offset": 0.8,
        "text-line-height": 1.2,
      },
      paint: {
        "text-color": palette.text,
        "text-halo-color": palette.halo,
        "text-halo-width": 1.8,
      },
    },
    {
      id: "track-ends",
      type: "circle",
      source: "track",
      filter: ["has", "end"],
      paint: {
        "circle-color": ["match", ["get", "end"], "start", palette.edge, palette.track],
        "circle-radius": 5,
        "circle-stroke-color": ["match", ["get", "end"], "start", palette.track, palette.edge],
        "circle-stroke-width": 2.5,
      },
    },
  ];
}

function draft(palette: Palette): LayerSpecification[] {
  return [
    {
      id: "draft-fill",
      type: "fill",
      source: "draft",
      filter: ["==", ["geometry-type"], "Polygon"],
      paint: { "fill-color": palette.draft, "fill-opacity": 0.16 },
    },
    {
      id: "draft-line",
      type: "line",
      source: "draft",
      filter: ["==", ["geometry-type"], "LineString"],
      paint: { "line-color": palette.draft, "line-width": 2.4 },
    },
    {
      id: "draft-corner",
      type: "circle",
      source: "draft",
      filter: ["==", ["geometry-type"], "Point"],
      paint: {
        "circle-color": palette.edge,
        "circle-radius": 5,
        "circle-stroke-color": palette.draft,
        "circle-stroke-width": 2.4,
      },
    },
  ];
}

export const TRUCK_LAYERS = ["trucks", "trucks-violating"];

/** A violating truck is on top, and its plate never gives way to another one's. */
function trucks(palette: Palette): LayerSpecification[] {
  const isViolating: ExpressionSpecification = ["in", "violating", ["get", "icon"]];
  const marks = (id: string, isOnTop: boolean): LayerSpecification => ({
    id,
    type: "symbol",
    source: "trucks",
    filter: isOnTop ? isViolating : ["!", isViolating],
    layout: {
      "icon-image": ["get", "icon"],
      "icon-rotate": ["get", "rotation_deg"],
      "icon-rotation-alignment": "map",
      "icon-size": byZoom(8, 0.7, 14, 1.05),
      "icon-allow-overlap": true,
      "icon-ignore-placement": true,
      "symbol-sort-key": ["get", "rank"],
      "text-field": ["step", ["zoom"], "", 11.5, ["get", "label"]],
      "text-font": FONT,
      "text-size": 11.5,
      "text-offset": [0, 1.35],
      "text-anchor": "top",
      "text-optional": true,
      "text-allow-overlap": isOnTop,
    },
    paint: {
      "text-color": isOnTop ? palette.violating : palette.text,
      "text-halo-color": palette.halo,
      "text-halo-width": 1.8,
    },
  });
  return [
    {
      id: "trucks-selected",
      type: "circle",
      source: "trucks",
      filter: ["==", ["get", "key"], ""],
      paint: {
        "circle-radius": 20,
        "circle-color": palette.track,
        "circle-opacity": 0.2,
        "circle-stroke-color": palette.track,
        "circle-stroke-width": 2,
      },
    },
    marks("trucks", false),
    marks("trucks-violating", true),
  ];
}

export function mapStyle(palette: Palette, settings: ConsoleSettings): StyleSpecification {
  return {
    version: 8,
    sources: {
      ...(settings.tile_url === null
        ? {}
        : {
            tiles: {
              type: "raster" as const,
              tiles: [settings.tile_url],
              tileSize: 256,
              attribution: settings.tile_attribution ?? "",
            },
          }),
      grid: EMPTY,
      streets: EMPTY,
      fences: EMPTY,
      evidence: EMPTY,
      track: EMPTY,
      draft: EMPTY,
      trucks: { ...EMPTY, promoteId: "key" },
    },
    layers: [
      ...ground(palette, settings),
      ...streets(palette),
      ...(settings.tile_url === null ? gridLabels(palette) : []),
      ...fences(palette),
      ...way(palette),
      ...fenceNames(palette),
      ...draft(palette),
      ...trucks(palette),
    ],
  };
}
