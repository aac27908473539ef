/**
 * Where WGS-84 lies on maps that do not use it. Chinese basemaps shift everything inside China by
 * some hundred metres (GCJ-02), Baidu's once more (BD-09); trucks drawn on them unshifted stand in
 * the next street. We keep WGS-84 everywhere; this is the border to the basemap.
 */
import type { GeoJSON, Geometry, Position } from "geojson";

export interface Datum {
  /** From WGS-84 to the map's own coordinates. */
  toMap(place: Position): Position;
  /** From the map's own coordinates to WGS-84, to better than a centimetre. */
  fromMap(place: Position): Position;
}

/** Axis and eccentricity of Krasovsky's ellipsoid, which the shift is defined on. */
const AXIS_M = 6_378_245;
const ECCENTRICITY_SQUARED = 0.006_693_421_622_965_943;
/** Where the shift applies, degrees. */
const [WEST, EAST, SOUTH, NORTH] = [72.004, 137.8347, 0.8293, 55.8271];
/** Each round of the inverse gains about three digits. */
const INVERSE_ROUNDS = 5;

const { PI, abs, atan2, cos, hypot, sin, sqrt } = Math;

function ripples(x: number, y: number): number {
  return ((20 * sin(6 * x * PI) + 20 * sin(2 * x * PI)) * 2) / 3 + 0.1 * x * y;
}

function shiftNorth(x: number, y: number): number {
  const bend = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.2 * sqrt(abs(x)) + ripples(x, y);
  const waves = 20 * sin(y * PI) + 40 * sin((y / 3) * PI);
  const swell = 160 * sin((y / 12) * PI) + 320 * sin((y * PI) / 30);
  return bend + ((waves + swell) * 2) / 3;
}

function shiftEast(x: number, y: number): number {
  const bend = 300 + x + 2 * y + 0.1 * x * x + 0.1 * sqrt(abs(x)) + ripples(x, y);
  const waves = 20 * sin(x * PI) + 40 * sin((x / 3) * PI);
  const swell = 150 * sin((x / 12) * PI) + 300 * sin((x / 30) * PI);
  return bend + ((waves + swell) * 2) / 3;
}

function toGcj02([longitude = 0, latitude = 0]: Position): Position {
  if (longitude < WEST || longitude > EAST || latitude < SOUTH || latitude > NORTH) {
    return [longitude, latitude];
  }
  const rad = (latitude * PI) / 180;
  const curve = 1 - ECCENTRICITY_SQUARED * sin(rad) ** 2;
  const [x, y] = [longitude - 105, latitude - 35];
  const metresNorth = (AXIS_M * (1 - ECCENTRICITY_SQUARED)) / (curve * sqrt(curve));
  const metresEast = (AXIS_M / sqrt(curve)) * cos(rad);
  return [
    longitude + (shiftEast(x, y) * 180) / (metresEast * PI),
    latitude + (shiftNorth(x, y) * 180) / (metresNorth * PI),
  ];
}

const BAIDU_TURN = (PI * 3000) / 180;

function toBd09(place: Position): Position {
  const [x = 0, y = 0] = toGcj02(place);
  const distance = hypot(x, y) + 0.000_02 * sin(y * BAIDU_TURN);
  const angle = atan2(y, x) + 0.000_003 * cos(x * BAIDU_TURN);
  return [distance * cos(angle) + 0.0065, distance * sin(angle) + 0.006];
}

/** The place that `forward` takes to `target`: the shift changes slowly, so guessing converges. */
function invert(forward: (place: Position) => Position, target: Position): Position {
  const [targetX = 0, targetY = 0] = target;
  let [x, y] = [targetX, targetY];
  for (let round = 0; round < INVERSE_ROUNDS; round += 1) {
    const [reachedX = 0, reachedY = 0] = forward([x, y]);
    x += targetX - reachedX;
    y += targetY - reachedY;
  }
  return [x, y];
}

const shifted = (forward: (place: Position) => Position): Datum => ({
  toMap: forward,
  fromMap: (place) => invert(forward, place),
});

const WGS84: Datum = { toMap: (place) => place, fromMap: (place) => place };
const DATUMS: Record<string, Datum> = {
  wgs84: WGS84,
  gcj02: shifted(toGcj02),
  bd09: shifted(toBd09),
};

/** The datum of that name; WGS-84 for one we do not know. */
export const datumOf = (name: string): Datum => DATUMS[name] ?? WGS84;

/** The same GeoJSON with every place converted. */
export function convert<Data extends GeoJSON>(data: Data, by: (place: Position) => Position): Data {
  return convertAny(data, by) as Data;
}

function convertAny(data: GeoJSON, by: (place: Position) => Position): GeoJSON {
  if (data.type === "FeatureCollection") {
    return { ...data, features: data.features.map((feature) => convert(feature, by)) };
  }
  if (data.type === "Feature") {
    return data.geometry === null ? data : { ...data, geometry: convert(data.geometry, by) };
  }
  if (data.type === "GeometryCollection") {
    return { ...data, geometries: data.geometries.map((geometry) => convert(geometry, by)) };
  }
  return { ...data, coordinates: convertNested(data.coordinates, by) } as Geometry;
}

type Nested = Position | readonly Nested[];

function convertNested(nested: Nested, by: (place: Position) => Position): Nested {
  return typeof nested[0] === "number"
    ? by(nested as Position)
    : (nested as readonly Nested[]).map((inner) => convertNested(inner, by));
}
