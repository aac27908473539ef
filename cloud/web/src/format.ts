/** Instants and quantities as people read them. Pure: zone and language are arguments. */

const formats = new Map<string, Intl.DateTimeFormat>();

function parts(instant: Date, zone: string): Record<string, string> {
  let format = formats.get(zone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat("en-CA", {
      timeZone: zone,
      hourCycle: "h23",
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
    });
    formats.set(zone, format);
  }
  return Object.fromEntries(format.formatToParts(instant).map(({ type, value }) => [type, value]));
}

/** `2026-11-20` of an instant in a zone. */
export function dayOf(instant: Date, zone: string): string {
  const { year, month, day } = parts(instant, zone);
  return `${year}-${month}-${day}`;
}

/** `15:04:05` today, `11-20 15:04:05` on another day, with the year when it is another one. */
export function formatInstant(text: string, zone: string, today: string): string {
  const instant = new Date(text);
  if (Number.isNaN(instant.getTime())) return text;
  const { year, month, day, hour, minute, second } = parts(instant, zone);
  const clock = `${hour}:${minute}:${second}`;
  if (today === `${year}-${month}-${day}`) return clock;
  return today.startsWith(`${year}-`)
    ? `${month}-${day} ${clock}`
    : `${year}-${month}-${day} ${clock}`;
}

/** `9 s`, `3 min 20 s`, `2 h 5 min`; `units` in the order hour, minute, second. */
export function formatDuration(seconds: number, units: readonly [string, string, string]): string {
  const total = Math.max(0, Math.round(seconds));
  const [hour, minute, second] = units;
  if (total < 60) return `${total} ${second}`;
  const minutes = Math.floor(total / 60);
  if (minutes < 60) {
    return total % 60 === 0 ? `${minutes} ${minute}` : `${minutes} ${minute} ${total % 60} ${second}`;
  }
  const hours = Math.floor(minutes / 60);
  return minutes % 60 === 0 ? `${hours} ${hour}` : `${hours} ${hour} ${minutes % 60} ${minute}`;
}

/** Digits grouped by thousands, at most `digits` decimals. */
export function formatNumber(value: number, digits = 0): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: digits });
}

/** Units that a name of ours may end in; longest match first. */
const UNITS: readonly (readonly [suffix: string, unit: string, digits: number])[] = [
  ["_percent", "%", 0],
  ["_kmh", "km/h", 1],
  ["_kwh", "kWh", 1],
  ["_deg", "°", 5],
  ["_km", "km", 1],
  ["_kg", "kg", 0],
  ["_s", "s", 0],
  ["_m", "m", 0],
  ["_v", "V", 1],
  ["_a", "A", 1],
  ["_c", "°C", 1],
];

/** A value with the unit its name ends in: `speed_kmh`, 36.52 → `36.5 km/h`. */
export function formatQuantity(name: string, value: number): string {
  const match = UNITS.find(([suffix]) => name.endsWith(suffix));
  if (match === undefined) return formatNumber(value, 3);
  const [, unit, digits] = match;
  const space = unit === "°" || unit === "%" ? "" : " ";
  return `${formatNumber(value, digits)}${space}${unit}`;
}
