import { expect, test } from "vitest";
import type { Position } from "../api/types";
import { PositionBoard, keyOf } from "./board";

function position(overrides: Partial<Position>): Position {
  return {
    vehicle_id: "v1",
    source: "808:1",
    plate: "豫R·D0001",
    latitude_deg: 32.99,
    longitude_deg: 112.53,
    speed_kmh: 36,
    heading_deg: 90,
    device_time: "2026-11-20T07:00:00Z",
    stored_time: "2026-11-20T08:00:00Z",
    state: "moving",
    is_violating: false,
    time_quality: "source",
    odometer_km: null,
    ...overrides,
  };
}

test("an older reading never replaces a newer one", () => {
  const board = new PositionBoard();
  board.take([position({ device_time: "2026-11-20T07:00:10Z", speed_kmh: 10 })]);
  board.take([position({ device_time: "2026-11-20T07:00:00Z", speed_kmh: 99 })]);
  expect(board.flush().changed.map((item) => item.speed_kmh)).toEqual([10]);
  board.take([position({ device_time: "2026-11-20T07:00:09.900Z", speed_kmh: 99 })]);
  expect(board.flush().changed).toEqual([]);
});

test("a clock that is ahead holds no truck longer than to its next reading", () => {
  const board = new PositionBoard();
  const ahead = { device_time: "2026-11-22T07:00:00Z", stored_time: "2026-11-20T07:00:05Z" };
  board.take([position({ ...ahead, speed_kmh: 1 })]);
  board.flush();
  const right = { device_time: "2026-11-20T07:00:14Z", stored_time: "2026-11-20T07:00:15Z" };
  board.take([position({ ...right, speed_kmh: 2 })]);
  expect(board.flush().changed.map((item) => item.speed_kmh)).toEqual([2]);
});

test("many readings of one beat are one change", () => {
  const board = new PositionBoard();
  for (let second = 10; second < 60; second += 1) {
    board.take([position({ device_time: `2026-11-20T07:00:${second}Z` })]);
  }
  expect(board.flush().changed).toHaveLength(1);
});

test("a claimed source loses its unclaimed mark", () => {
  const board = new PositionBoard();
  const unclaimed = position({ vehicle_id: null, plate: null });
  board.take([unclaimed]);
  board.flush();
  board.take([position({ device_time: "2026-11-20T07:00:10Z" })]);
  expect(board.flush().removed).toEqual([keyOf(unclaimed)]);
  expect([...board.snapshot().keys()]).toEqual(["vehicle:v1"]);
});

test("a reload removes what is gone and keeps what came live meanwhile", () => {
  const board = new PositionBoard();
  board.take([position({}), position({ vehicle_id: "v2", source: "808:2" })]);
  board.flush();
  board.take([position({ device_time: "2026-11-20T07:00:30Z", speed_kmh: 50 })]);
  const change = board.reload([position({ device_time: "2026-11-20T07:00:20Z", speed_kmh: 40 })]);
  expect(change.removed).toEqual(["vehicle:v2"]);
  expect(board.snapshot().get("vehicle:v1")?.speed_kmh).toBe(50);
});
