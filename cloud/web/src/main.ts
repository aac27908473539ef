import { createApp } from "vue";
import { setWorkerUrl } from "maplibre-gl";
import workerUrl from "maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url";
import "maplibre-gl/dist/maplibre-gl.css";
import "./style/tokens.css";
import "./style/base.css";
import App from "./App.vue";
import { positions } from "./state/fleet";

// A file of our own origin, so that the page's Content-Security-Policy holds.
setWorkerUrl(workerUrl);

window.greenhaulConsole = Object.freeze({
  positions: () => Object.fromEntries([...positions.value].map(([key, item]) => [key, { ...item }])),
});

createApp(App).mount("#app");
