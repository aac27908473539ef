/** How many readings the gateways have delivered into the store. */
import { computed, shallowRef } from "vue";
import { list } from "../api/client";
import type { Gateway, GatewayFigures } from "../api/types";

/** By gateway; empty for users of one enterprise, who see no gateways. */
const stored = shallowRef<ReadonlyMap<string, number>>(new Map());

export function takeGateways(data: unknown): void {
  const figures = (data as { items: GatewayFigures[] }).items;
  stored.value = new Map([...stored.value, ...figures.map((item) => [item.id, item.stored] as const)]);
}

export async function loadGateways(): Promise<void> {
  const gateways = await list<Gateway>("/gateways");
  const sum = ({ epochs }: Gateway): number =>
    epochs.flatMap(({ lanes }) => lanes).reduce((total, lane) => total + lane.stored, 0);
  stored.value = new Map(gateways.map((gateway) => [gateway.id, sum(gateway)]));
}

/** Stored readings over all gateways; null while nobody has said. */
export const readingsStored = computed<number | null>(() => {
  const counts = [...stored.value.values()];
  return counts.length === 0 ? null : counts.reduce((sum, count) => sum + count, 0);
});
