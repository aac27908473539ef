import { expect, test } from "vitest";
import { convert, datumOf } from "./datum";
import { distanceM } from "./geometry";

const TIANANMEN = [116.404, 39.915];
const NANYANG = [112.53, 32.99];

test("GCJ-02 is where everybody's converters say it is", () => {
  const [longitude = 0, latitude = 0] = datumOf("gcj02").toMap(TIANANMEN);
  expect(longitude).toBeCloseTo(116.410_244_5, 6);
  expect(latitude).toBeCloseTo(39.916_404_3, 6);
});

test("BD-09 adds Baidu's own shift", () => {
  const gcj02 = datumOf("gcj02");
  const [longitude = 0, latitude = 0] = datumOf("bd09").toMap(gcj02.fromMap(TIANANMEN));
  expect(longitude).toBeCloseTo(116.410_369_5, 6);
  expect(latitude).toBeCloseTo(39.921_336_99, 6);
});

test("there and back again is less than a centimetre", () => {
  for (const name of ["gcj02", "bd09"]) {
    const datum = datumOf(name);
    for (const place of [TIANANMEN, NANYANG, [87.6, 43.8], [109.5, 18.2]]) {
      expect(distanceM(place, datum.fromMap(datum.toMap(place)))).toBeLessThan(0.01);
    }
  }
});

test("in Nanyang the shift is hundreds of metres, abroad there is none", () => {
  const gcj02 = datumOf("gcj02");
  expect(distanceM(NANYANG, gcj02.toMap(NANYANG))).toBeGreaterThan(300);
  expect(gcj02.toMap([11.58, 48.14])).toEqual([11.58, 48.14]);
  expect(datumOf("wgs84").toMap(NANYANG)).toEqual(NANYANG);
});

test("every corner of every geometry is converted", () => {
  const polygon = { type: "Polygon" as const, coordinates: [[[0, 0], [1, 0], [1, 1], [0, 0]]] };
  const feature = { type: "Feature" as const, geometry: polygon, properties: { id: 1 } };
  const moved = convert(feature, ([x = 0, y = 0]) => [x + 10, y + 20]);
  expect(moved.geometry.coordinates).toEqual([[[10, 20], [11, 20], [11, 21], [10, 20]]]);
  expect(moved.properties).toEqual({ id: 1 });
});
