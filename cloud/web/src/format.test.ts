import { expect, test } from "vitest";
import { dayOf, formatDuration, formatInstant, formatQuantity } from "./format";

const now = new Date("2026-11-20T16:30:00Z"); // already the 21st in Nanyang

test("a day belongs to its zone", () => {
  expect(dayOf(now, "Asia/Shanghai")).toBe("2026-11-21");
  expect(dayOf(now, "UTC")).toBe("2026-11-20");
});

test("an instant says only as much of its date as is needed", () => {
  const today = dayOf(now, "Asia/Shanghai");
  expect(formatInstant("2026-11-20T16:05:06.300Z", "Asia/Shanghai", today)).toBe("00:05:06");
  expect(formatInstant("2026-11-20T07:04:05Z", "Asia/Shanghai", today)).toBe("11-20 15:04:05");
  expect(formatInstant("2025-11-20T07:04:05Z", "Asia/Shanghai", today)).toBe("2025-11-20 15:04:05");
});

test("a duration has at most two units", () => {
  const units = ["h", "min", "s"] as const;
  expect(formatDuration(9, units)).toBe("9 s");
  expect(formatDuration(200, units)).toBe("3 min 20 s");
  expect(formatDuration(7500, units)).toBe("2 h 5 min");
});

test("a quantity takes its unit from its name", () => {
  expect(formatQuantity("speed_kmh", 36.52)).toBe("36.5 km/h");
  expect(formatQuantity("soc_percent", 80)).toBe("80%");
  expect(formatQuantity("odometer_km", 10234.5)).toBe("10,234.5 km");
  expect(formatQuantity("satellites", 9)).toBe("9");
});
