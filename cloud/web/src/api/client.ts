/** The way to the API: same origin, cookie session, CSRF token on everything that changes state. */
import type { Page } from "./types";

const PREFIX = "/api/v1";
/** A page that waits longer than this looks broken; the server's own limits are shorter. */
const ANSWER_WAIT_MS = 20_000;
/** 10 pages of 1000: more vehicles or fences than one map can show; a bound on a server's mistake. */
const PAGES_MAX = 10;
const PAGE_SIZE = 1000;

/** An answer that is not success; `status` 0 means that no answer came. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

let csrfToken: string | null = null;
let onSessionLost: () => void = () => undefined;

export function setCsrfToken(token: string | null): void {
  csrfToken = token;
}

/** Calls `handler` whenever the server no longer knows our session. */
export function setSessionLostHandler(handler: () => void): void {
  onSessionLost = handler;
}

type Query = Record<string, string | number | boolean>;

export function get<Answer>(path: string, query: Query = {}): Promise<Answer> {
  const search = new URLSearchParams(
    Object.entries(query).map(([name, value]) => [name, String(value)]),
  ).toString();
  return ask<Answer>("GET", search === "" ? path : `${path}?${search}`);
}

export function send<Answer>(
  method: "POST" | "PUT" | "DELETE",
  path: string,
  body?: unknown,
): Promise<Answer> {
  return ask<Answer>(method, path, body);
}

/** Every item of a paged list. */
export async function list<Item>(path: string, query: Query = {}): Promise<Item[]> {
  const items: Item[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const answer: Page<Item> = await get<Page<Item>>(path, {
      limit: PAGE_SIZE,
      ...query,
      ...(cursor === null ? {} : { cursor }),
    });
    items.push(...answer.items);
    cursor = answer.next;
    if (cursor === null) break;
  }
  return items;
}

async function ask<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && csrfToken !== null) headers["X-CSRF-Token"] = csrfToken;
  let response: Response;
  try {
    response = await fetch(PREFIX + path, {
      method,
      headers,
      credentials: "same-origin",
      signal: AbortSignal.timeout(ANSWER_WAIT_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new ApiError(0, "");
  }
  if (!response.ok) {
    if (response.status === 401 && path !== "/session") onSessionLost();
    throw new ApiError(response.status, await problemText(response));
  }
  return (response.status === 204 ? undefined : await response.json()) as Answer;
}

/** The human part of an `application/problem+json` answer; empty if there is none. */
async function problemText(response: Response): Promise<string> {
  try {
    const problem = (await response.json()) as { title?: unknown; detail?: unknown };
    if (typeof problem.detail === "string") return problem.detail;
    return typeof problem.title === "string" ? problem.title : "";
  } catch {
    return "";
  }
}
