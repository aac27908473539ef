/** How many readings the gateways have delivered into the store. */
import { computed, shallowRef } from "vue";
import { list } from "../api/client";
import type { Gateway } from "../api/types";

const gateways = shallowRef<ReadonlyMap<string, Gateway>>(new Map());

export function takeGateways(data: unknown): void {
  const known = new Map(gateways.value);
  for (const item of (data as { items: Gateway[] }).items) {
    known.set(item.id, { ...known.get(item.id), ...item });
  }
  gateways.value = known;
}

export async function loadGateways(): Promise<void> {
  takeGateways({ items: await list<Gateway>("/gateways") });
}

/** Stored readings over all gateways; null while nobody has said. */
export const readingsStored = computed<number | null>(() => {
  const counts = [...gateways.value.values()].flatMap((gateway) =>
    typeof gateway["stored"] === "number" ? [gateway["stored"]] : [],
  );
  return counts.length === 0 ? null : counts.reduce((sum, count) => sum + count, 0);
});
