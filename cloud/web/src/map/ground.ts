/** The ground of the map: tiles if there are any, else a labelled grid; streets of our own. */
import type { ExpressionSpecification, LayerSpecification } from "maplibre-gl";
import type { ConsoleSettings } from "../api/types";
import { FONT } from "./expressions";
import type { Palette } from "./palette";

export function ground(palette: Palette, settings: ConsoleSettings): LayerSpecification[] {
  const background: LayerSpecification = {
    id: "land",
    type: "background",
    paint: { "background-color": palette.land },
  };
  if (settings.tile_url !== null) {
    return [background, { id: "tiles", type: "raster", source: "tiles" }];
  }
  return [
    background,
    {
      id: "grid-lines",
      type: "line",
      source: "grid",
      filter: ["==", ["geometry-type"], "LineString"],
      paint: { "line-color": palette.grid, "line-width": 1, "line-dasharray": [1, 5] },
    },
  ];
}

/** Streets of the data's own classes: what is called primary, trunk or motorway is drawn broader. */
export function streets(palette: Palette): LayerSpecification[] {
  const isMain: ExpressionSpecification = [
    "match",
    ["coalesce", ["get", "class"], ["get", "highway"], ""],
    ["motorway", "trunk", "primary", "arterial", "main", "ring"],
    1.7,
    1,
  ];
  const width = (extra: number): ExpressionSpecification => [
    "interpolate",
    ["exponential", 1.6],
    ["zoom"],
    10,
    ["+", ["*", 0.7, isMain], extra * 0.3],
    14,
    ["+", ["*", 3.5, isMain], extra],
    18,
    ["+", ["*", 16, isMain], extra * 1.5],
  ];
  const layout = { "line-cap": "round", "line-join": "round" } as const;
  return [
    {
      id: "streets-edge",
      type: "line",
      source: "streets",
      layout,
      paint: { "line-color": palette.streetEdge, "line-width": width(2) },
    },
    {
      id: "streets",
      type: "line",
      source: "streets",
      layout,
      paint: { "line-color": palette.street, "line-width": width(0) },
    },
    {
      id: "streets-name",
      type: "symbol",
      source: "streets",
      minzoom: 13,
      filter: ["has", "name"],
      layout: {
        "symbol-placement": "line",
        "symbol-spacing": 400,
        "text-field": ["get", "name"],
        "text-font": FONT,
        "text-size": 11,
      },
      paint: {
        "text-color": palette.streetText,
        "text-halo-color": palette.street,
        "text-halo-width": 1.2,
      },
    },
  ];
}

export function gridLabels(palette: Palette): LayerSpecification[] {
  return (["north", "west"] as const).map((edge) => ({
    id: `grid-${edge}`,
    type: "symbol",
    source: "grid",
    filter: ["==", ["get", "edge"], edge],
    layout: {
      "text-field": ["get", "text"],
      "text-font": FONT,
      "text-size": 10,
      "text-anchor": edge === "north" ? "top-left" : "bottom-left",
      "text-offset": edge === "north" ? [0.4, 0.5] : [0.6, -0.3],
      "text-padding": 6,
    },
    paint: {
      "text-color": palette.gridText,
      "text-halo-color": palette.land,
      "text-halo-width": 1.2,
    },
  }));
}
