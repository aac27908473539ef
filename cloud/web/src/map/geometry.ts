/** Small geometry of the map's own: bounds, lengths, the grid of the plain map. Pure. */
import type { Feature, FeatureCollection, GeoJSON, LineString, Point, Position } from "geojson";

/** West, south, east, north in degrees. */
export type Bounds = [number, number, number, number];

function* coordinatesOf(data: GeoJSON): Generator<Position> {
  if (data.type === "FeatureCollection") {
    for (const feature of data.features) yield* coordinatesOf(feature);
  } else if (data.type === "Feature") {
    if (data.geometry !== null) yield* coordinatesOf(data.geometry);
  } else if (data.type === "GeometryCollection") {
    for (const geometry of data.geometries) yield* coordinatesOf(geometry);
  } else {
    yield* flatten(data.coordinates);
  }
}

type Nested = Position | readonly Nested[];

function* flatten(nested: Nested): Generator<Position> {
  if (typeof nested[0] === "number") yield nested as Position;
  else for (const inner of nested as readonly Nested[]) yield* flatten(inner);
}

/** The box around everything in `data`; null if there is nothing in it. */
export function boundsOf(data: GeoJSON | null): Bounds | null {
  if (data === null) return null;
  const box: Bounds = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [longitude = 0, latitude = 0] of coordinatesOf(data)) {
    box[0] = Math.min(box[0], longitude);
    box[1] = Math.min(box[1], latitude);
    box[2] = Math.max(box[2], longitude);
    box[3] = Math.max(box[3], latitude);
  }
  return box[0] === Infinity ? null : box;
}

const EARTH_RADIUS_M = 6_371_008.8;

/** Great-circle distance of two [longitude, latitude] pairs, metres. */
export function distanceM(from: Position, to: Position): number {
  const rad = Math.PI / 180;
  const [fromLongitude = 0, fromLatitude = 0] = from;
  const [toLongitude = 0, toLatitude = 0] = to;
  const h =
    Math.sin(((toLatitude - fromLatitude) * rad) / 2) ** 2 +
    Math.cos(fromLatitude * rad) *
      Math.cos(toLatitude * rad) *
      Math.sin(((toLongitude - fromLongitude) * rad) / 2) ** 2;
  return 2 * EARTH_RADIUS_M * Math.asin(Math.sqrt(h));
}

/** The lines of a track answer, whatever GeoJSON it came as; a single reading is a line of one. */
export function linesOf(data: GeoJSON | null): Position[][] {
  if (data === null) return [];
  if (data.type === "FeatureCollection") return data.features.flatMap(linesOf);
  if (data.type === "Feature") return data.geometry === null ? [] : linesOf(data.geometry);
  if (data.type === "LineString") return [data.coordinates];
  if (data.type === "MultiLineString") return data.coordinates;
  if (data.type === "Point") return [[data.coordinates]];
  return [];
}

export function lengthKm(lines: readonly Position[][]): number {
  let length_m = 0;
  for (const line of lines) {
    for (let at = 1; at < line.length; at += 1) {
      length_m += distanceM(line[at - 1] as Position, line[at] as Position);
    }
  }
  return length_m / 1000;
}

const GRID_STEPS_DEG = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];
/** A grid line every hundred pixels or so reads well; this many across a wide window. */
const GRID_LINES_WANTED = 10;

/** The lowest strip of the view belongs to the scale bar. */
const SCALE_BAR_SHARE = 0.08;

function label(value_deg: number, digits: number, hemispheres: readonly [string, string]): string {
  const hemisphere = value_deg < 0 ? hemispheres[1] : hemispheres[0];
  return `${Math.abs(value_deg).toFixed(digits)}°${value_deg === 0 ? "" : hemisphere}`;
}

/** Meridians and parallels for a view, each line twice: as a line and as a label at the edge. */
export function graticule(view: Bounds): FeatureCollection<LineString | Point> {
  const [west, south, east, north] = view;
  const wanted = (east - west) / GRID_LINES_WANTED;
  const step = GRID_STEPS_DEG.find((candidate) => candidate >= wanted) ?? 30;
  const digits = Math.max(0, Math.ceil(-Math.log10(step)));
  const features: Feature<LineString | Point>[] = [];
  const put = (line: Position[], at: Position, text: string, edge: string): void => {
    features.push(
      { type: "Feature", geometry: { type: "LineString", coordinates: line }, properties: {} },
      { type: "Feature", geometry: { type: "Point", coordinates: at }, properties: { text, edge } },
    );
  };
  for (let index = Math.ceil(west / step); index * step <= east; index += 1) {
    const longitude = index * step;
    const line = [[longitude, Math.max(south, -85)], [longitude, Math.min(north, 85)]];
    put(line, [longitude, north], label(longitude, digits, ["E", "W"]), "north");
  }
  for (let index = Math.ceil(south / step); index * step <= north; index += 1) {
    const latitude = index * step;
    if (latitude < south + SCALE_BAR_SHARE * (north - south)) continue;
    put([[west, latitude], [east, latitude]], [west, latitude], label(latitude, digits, ["N", "S"]), "west");
  }
  return { type: "FeatureCollection", features };
}
