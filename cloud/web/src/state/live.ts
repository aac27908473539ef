/** Brings the console up: first what is known, then what happens. */
import { computed, ref, shallowRef } from "vue";
import { openStream, type LinkState, type Stream } from "../live/stream";
import { loadGateways, takeGateways } from "./figures";
import { loadFences } from "./fences";
import {
  loadPositions,
  loadUnclaimedSources,
  loadVehicles,
  startBoard,
  takePositions,
} from "./fleet";
import { followSelected } from "./selection";
import { askSession, seesInstallation } from "./session";
import { startClock } from "./settings";
import { loadViolations, takeViolations } from "./violations";

const stream = shallowRef<Stream | null>(null);
export const link = computed<LinkState>(() => stream.value?.link.value ?? "connecting");

/** False until the first answers are there: an empty list means nothing before that. */
export const isLoaded = ref(false);

/** Each part by itself: one that fails leaves the others standing; the stream or a reload mends it. */
async function loadAll(): Promise<void> {
  await Promise.allSettled([
    loadVehicles(),
    loadPositions(),
    loadFences(),
    loadViolations(),
    ...(seesInstallation() ? [loadUnclaimedSources(), loadGateways()] : []),
  ]);
  isLoaded.value = true;
}

/** A truck that falls silent and a fence that a colleague draws send no event. */
const REFRESH_MS = 60_000;

function startRefreshing(): () => void {
  const timer = setInterval(() => void loadAll(), REFRESH_MS);
  return () => clearInterval(timer);
}

/** The stream opens before the lists are read, so nothing falls between the two. */
export function startConsole(): () => void {
  const stops = [startClock(), startBoard(), followSelected(), startRefreshing()];
  const opened = openStream("/api/v1/live", {
    events: {
      positions: takePositions,
      violations: takeViolations,
      gateways: takeGateways,
    },
    resumed: () => void loadAll(),
    refused: () => void askSession(),
  });
  stream.value = opened;
  void loadAll();
  return () => {
    for (const stop of stops) stop();
    opened.close();
    stream.value = null;
  };
}
