/** Who is looking: the cookie session and its CSRF token. */
import { ref } from "vue";
import { ApiError, get, send, setCsrfToken, setSessionLostHandler } from "../api/client";
import type { SessionAnswer } from "../api/types";

export type SessionState = "asking" | "signed-out" | "signed-in" | "unreachable";

export const session = ref<SessionState>("asking");
export const userName = ref("");
export const userRole = ref("");

/** What changes anything is offered only to those whose role may do it; the server decides. */
export const mayDrawFences = (): boolean => ["admin", "regulator"].includes(userRole.value);
/** Gateways and sources of nobody's are no single enterprise's business. */
export const seesInstallation = (): boolean => userRole.value !== "manager";
export const mayClaimSources = (): boolean => ["admin", "manager"].includes(userRole.value);

function enter(answer: SessionAnswer): void {
  if (answer.user === null) {
    leave();
    return;
  }
  setCsrfToken(answer.csrf_token);
  userName.value = answer.user.name;
  userRole.value = answer.user.role;
  session.value = "signed-in";
}

function leave(): void {
  setCsrfToken(null);
  session.value = "signed-out";
}

setSessionLostHandler(leave);

export async function askSession(): Promise<void> {
  try {
    enter(await get<SessionAnswer>("/session"));
  } catch (error) {
    if (error instanceof ApiError && error.status !== 0 && error.status < 500) leave();
    else if (session.value !== "signed-in") session.value = "unreachable";
  }
}

export async function signIn(name: string, password: string): Promise<void> {
  enter(await send<SessionAnswer>("POST", "/session", { name, password }));
}

export async function signOut(): Promise<void> {
  await send("DELETE", "/session");
  leave();
}
