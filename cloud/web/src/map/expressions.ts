/** Pieces that many layers share. */
import type { ExpressionSpecification } from "maplibre-gl";

/** Read by the browser itself: without a glyph host MapLibre draws text with local fonts. */
export const FONT = ["PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif"];

/** By zoom: [zoom, width in px, zoom, width in px, …]. */
export const byZoom = (...stops: number[]): ExpressionSpecification =>
  ["interpolate", ["exponential", 1.6], ["zoom"], ...stops] as unknown as ExpressionSpecification;
