import { expect, test } from "vitest";
import type { Fence } from "../api/types";
import { distanceM } from "./geometry";
import {
  centroid,
  circleRing,
  draftFeatures,
  evidenceFeatures,
  fenceFeatures,
  trackFeatures,
} from "./features";

const fence = (geometry: Fence["geometry"], limits: object = {}): Fence => ({
  type: "Feature",
  geometry,
  properties: { id: "f", name: "f", severity: "serious", rules: [], version: 1, ...limits },
});

test("a circle's ring has its radius on every side", () => {
  for (const corner of circleRing([112.53, 32.99], 500)) {
    expect(Math.abs(distanceM([112.53, 32.99], corner) - 500)).toBeLessThan(2);
  }
});

test("a fence has one shape and one name", () => {
  const features = fenceFeatures(
    fence({ type: "Point", coordinates: [112.53, 32.99] }, { radius_m: 500 }),
    "name",
    false,
  );
  expect(features.map(({ geometry }) => geometry.type)).toEqual(["Polygon", "Point"]);
  const name = features[1]?.geometry;
  if (name?.type !== "Point") throw new Error("no name");
  expect(distanceM([112.53, 32.99], name.coordinates)).toBeLessThan(1);
});

test("the centre of an L lies towards its mass, whatever the direction of the ring", () => {
  const ring = [[0, 0], [3, 0], [3, 1], [1, 1], [1, 3], [0, 3], [0, 0]];
  const expected = [1.1, 1.1];
  for (const turned of [ring, [...ring].reverse()]) {
    const [x = 0, y = 0] = centroid(turned);
    expect(x).toBeCloseTo(expected[0] as number, 9);
    expect(y).toBeCloseTo(expected[1] as number, 9);
  }
});

test("a track marks where it starts and where it ends", () => {
  const { features } = trackFeatures({ type: "LineString", coordinates: [[1, 1], [2, 2], [3, 1]] });
  expect(features.map(({ properties }) => properties?.["end"])).toEqual([undefined, "start", "finish"]);
  expect(trackFeatures(null).features).toEqual([]);
});

test("a draft becomes an area with its third corner", () => {
  const kinds = (corners: number[][]): string[] =>
    draftFeatures(corners, null).features.map(({ geometry }) => geometry.type);
  expect(kinds([[0, 0], [1, 0]])).not.toContain("Polygon");
  expect(kinds([[0, 0], [1, 0], [1, 1]])).toContain("Polygon");
});

test("each reading of the evidence says its own time and speed", () => {
  const { features } = evidenceFeatures(
    {
      type: "Feature",
      geometry: { type: "MultiPoint", coordinates: [[1, 1], [2, 2]] },
      properties: { device_times: ["a", "b"], speeds_kmh: [50, null] },
    },
    (time, speed_kmh) => `${time} ${speed_kmh}`,
  );
  expect(features.map(({ properties }) => properties?.["label"])).toEqual([undefined, "a 50", "b null"]);
});
