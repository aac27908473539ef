/** How this installation shows things: zone, centre, tiles. And the clock of the page. */
import { computed, ref, shallowRef } from "vue";
import { get } from "../api/client";
import type { ConsoleSettings } from "../api/types";
import { dayOf, formatInstant } from "../format";

export const settings = shallowRef<ConsoleSettings>({
  tile_url: null,
  tile_attribution: null,
  datum: "wgs84",
  center: [112.53, 32.99],
  zoom: 11,
  timezone: "Asia/Shanghai",
  streets: null,
});

/** For running durations only; instants themselves come from the server. */
export const now = ref(new Date());
const TICK_MS = 1_000;
/** The installation's day: what shows instants is drawn anew at midnight, not with each tick. */
export const today = computed(() => dayOf(now.value, settings.value.timezone));

/** Sets the page's clock going; returns how to stop it. */
export function startClock(): () => void {
  const tick = setInterval(() => {
    now.value = new Date();
  }, TICK_MS);
  return () => clearInterval(tick);
}

export async function loadSettings(): Promise<void> {
  settings.value = { ...settings.value, ...(await get<ConsoleSettings>("/console/settings")) };
}

/** An instant in the installation's zone, with seconds. */
export const showInstant = (text: string): string =>
  formatInstant(text, settings.value.timezone, today.value);
