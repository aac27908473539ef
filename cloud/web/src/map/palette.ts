/** Colours of the map. WebGL reads no CSS variables, so the tones of tokens.css stand here again. */
export interface Palette {
  land: string;
  grid: string;
  gridText: string;
  street: string;
  streetEdge: string;
  streetText: string;
  text: string;
  halo: string;
  track: string;
  trackEdge: string;
  draft: string;
  serious: string;
  warning: string;
  info: string;
  moving: string;
  stopped: string;
  offline: string;
  violating: string;
  unclaimed: string;
  edge: string;
}

export const LIGHT: Palette = {
  land: "#e8ece9",
  grid: "#c6cfc9",
  gridText: "#6d7a72",
  street: "#ffffff",
  streetEdge: "#cdd5d0",
  streetText: "#66736b",
  text: "#16201b",
  halo: "#ffffff",
  track: "#2f6fd0",
  trackEdge: "#ffffff",
  draft: "#0f7a52",
  serious: "#c8321f",
  warning: "#b86a00",
  info: "#4a6a8a",
  moving: "#0f8a5a",
  stopped: "#3a6ea5",
  offline: "#87928c",
  violating: "#d8321c",
  unclaimed: "#8d7f58",
  edge: "#ffffff",
};

export const DARK: Palette = {
  land: "#111716",
  grid: "#2b3633",
  gridText: "#7d8b84",
  street: "#27322f",
  streetEdge: "#0b100f",
  streetText: "#8d9b94",
  text: "#e7eeea",
  halo: "#0b100f",
  track: "#6aa5f8",
  trackEdge: "#0b100f",
  draft: "#3ecf92",
  serious: "#ff7d6b",
  warning: "#f0b45c",
  info: "#8fb4d9",
  moving: "#3ecf92",
  stopped: "#6fa8e8",
  offline: "#7d8a84",
  violating: "#ff5b45",
  unclaimed: "#c2ae74",
  edge: "#0b100f",
};
