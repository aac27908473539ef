/** The live stream: server-sent events, their link state, and a way back after any break. */
import { ref, type Ref } from "vue";

export type LinkState = "connecting" | "live" | "broken";

export interface StreamHandlers {
  events: Record<string, (data: unknown) => void>;
  /** The link is back after a break: what was missed beyond the server's memory must be read anew. */
  resumed: () => void;
  /** The server refused the stream; the session may have ended. */
  refused: () => void;
}

// EventSource comes back by itself after a cut line, but gives up when it is refused (a restarting
// server behind a proxy answers 502): then we ask again, ever less often.
const RETRY_FIRST_MS = 2_000;
const RETRY_MAX_MS = 30_000;

export interface Stream {
  link: Ref<LinkState>;
  close(): void;
}

export function openStream(url: string, handlers: StreamHandlers): Stream {
  const link = ref<LinkState>("connecting");
  let source: EventSource;
  let retry_ms = RETRY_FIRST_MS;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function connect(): void {
    source = new EventSource(url);
    source.onopen = () => {
      const wasBroken = link.value === "broken";
      link.value = "live";
      retry_ms = RETRY_FIRST_MS;
      if (wasBroken) handlers.resumed();
    };
    source.onerror = () => {
      link.value = "broken";
      if (source.readyState !== EventSource.CLOSED) return;
      handlers.refused();
      timer = setTimeout(connect, retry_ms);
      retry_ms = Math.min(retry_ms * 2, RETRY_MAX_MS);
    };
    for (const [name, take] of Object.entries(handlers.events)) {
      source.addEventListener(name, (event: MessageEvent<string>) => take(JSON.parse(event.data)));
    }
  }

  connect();
  return {
    link,
    close() {
      clearTimeout(timer);
      source.close();
    },
  };
}
