/** Violations, newest first, kept live. */
import { computed, shallowRef } from "vue";
import { get } from "../api/client";
import type { Page, Violation } from "../api/types";
import { dayOf } from "../format";
import { now, settings } from "./settings";

/** As many as anybody scrolls through; older ones are a matter of reports. */
export const VIOLATIONS_MAX = 500;

export const violations = shallowRef<Violation[]>([]);

export const isOpen = (violation: Violation): boolean =>
  violation.ended_at === null && violation.state !== "withdrawn";

/** Vehicles that break a rule right now. */
export const openViolationVehicles = computed(
  () => new Set(violations.value.filter(isOpen).map((violation) => violation.vehicle_id)),
);

export const violationsToday = computed(() => {
  const zone = settings.value.timezone;
  const today = dayOf(now.value, zone);
  return violations.value.filter(
    (violation) =>
      violation.state !== "withdrawn" && dayOf(new Date(violation.began_at), zone) === today,
  ).length;
});

/** Newer word about the same violation replaces the older one. */
function merge(items: readonly Violation[]): void {
  const known = new Map(violations.value.map((violation) => [String(violation.id), violation]));
  for (const item of items) known.set(String(item.id), item);
  violations.value = [...known.values()]
    .sort((one, other) => Date.parse(other.began_at) - Date.parse(one.began_at))
    .slice(0, VIOLATIONS_MAX);
}

export function takeViolations(data: unknown): void {
  merge((data as { items: Violation[] }).items);
}

export async function loadViolations(): Promise<void> {
  const page = await get<Page<Violation>>("/violations", { limit: VIOLATIONS_MAX });
  violations.value = [];
  merge(page.items);
}
