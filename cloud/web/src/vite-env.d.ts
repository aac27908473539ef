/// <reference types="vite/client" />

interface Window {
  /** Read-only view of what the page shows, for end-to-end tests and for the curious. */
  greenhaulConsole: {
    positions(): Record<string, import("./api/types").Position>;
  };
}
