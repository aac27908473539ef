import { expect, test } from "vitest";
import { boundsOf, distanceM, graticule, lengthKm, linesOf } from "./geometry";

test("bounds reach into every kind of geometry", () => {
  const hole = [[[0, 0], [4, 0], [4, 3], [0, 0]], [[1, 1], [2, 1], [2, 2], [1, 1]]];
  const polygon = { type: "Polygon" as const, coordinates: hole };
  const feature = { type: "Feature" as const, geometry: polygon, properties: {} };
  expect(boundsOf({ type: "FeatureCollection", features: [feature] })).toEqual([0, 0, 4, 3]);
  expect(boundsOf({ type: "FeatureCollection", features: [] })).toBeNull();
});

test("a degree of latitude is about 111.2 km", () => {
  expect(distanceM([112.5, 32], [112.5, 33]) / 1000).toBeCloseTo(111.2, 1);
  expect(lengthKm(linesOf({ type: "LineString", coordinates: [[112, 32], [112, 33], [112, 32]] })))
    .toBeCloseTo(222.4, 1);
});

test("the grid is labelled to its step and crosses the view", () => {
  const { features } = graticule([112.41, 32.91, 112.66, 33.06]);
  const texts = features.flatMap(({ properties }) => (properties?.["text"] ? [properties["text"]] : []));
  expect(texts).toContain("112.50°E");
  expect(texts).toContain("33.00°N");
  expect(texts.length).toBeLessThan(40);
});
