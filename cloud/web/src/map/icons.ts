/**
 * Marks of trucks, drawn here: no sprite to fetch. State is told by shape as well as by colour:
 * an arrow moves, a square is parked, a ring is silent, a diamond is unclaimed; a violating truck
 * wears a halo.
 */
import type { Map as GlMap } from "maplibre-gl";
import type { Palette } from "./palette";

const SIZE_PX = 40;
const PIXEL_RATIO = 3;

type Sketch = (pen: CanvasRenderingContext2D) => void;

function draw(sketch: Sketch): ImageData {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIZE_PX * PIXEL_RATIO;
  const pen = canvas.getContext("2d");
  if (pen === null) throw new Error("the browser gives no 2D canvas");
  pen.scale(PIXEL_RATIO, PIXEL_RATIO);
  pen.translate(SIZE_PX / 2, SIZE_PX / 2);
  pen.lineJoin = "round";
  sketch(pen);
  return pen.getImageData(0, 0, canvas.width, canvas.height);
}

function fill(pen: CanvasRenderingContext2D, colour: string, edge: string): void {
  pen.lineWidth = 3.5;
  pen.strokeStyle = edge;
  pen.stroke();
  pen.fillStyle = colour;
  pen.fill();
}

function arrow(colour: string, edge: string): Sketch {
  return (pen) => {
    pen.beginPath();
    pen.moveTo(0, -12);
    pen.lineTo(8.5, 9.5);
    pen.lineTo(0, 5);
    pen.lineTo(-8.5, 9.5);
    pen.closePath();
    fill(pen, colour, edge);
  };
}

function square(colour: string, edge: string): Sketch {
  return (pen) => {
    pen.beginPath();
    pen.roundRect(-7, -7, 14, 14, 4);
    fill(pen, colour, edge);
    pen.fillStyle = edge;
    pen.fillRect(-3.2, -3.2, 2.2, 6.4);
    pen.fillRect(1, -3.2, 2.2, 6.4);
  };
}

function ring(colour: string, edge: string): Sketch {
  return (pen) => {
    pen.beginPath();
    pen.arc(0, 0, 6.5, 0, 2 * Math.PI);
    fill(pen, edge, edge);
    pen.lineWidth = 2.6;
    pen.strokeStyle = colour;
    pen.stroke();
    pen.beginPath();
    pen.moveTo(-4.4, 4.4);
    pen.lineTo(4.4, -4.4);
    pen.stroke();
  };
}

function diamond(colour: string, edge: string): Sketch {
  return (pen) => {
    pen.beginPath();
    pen.moveTo(0, -8.5);
    pen.lineTo(8.5, 0);
    pen.lineTo(0, 8.5);
    pen.lineTo(-8.5, 0);
    pen.closePath();
    fill(pen, colour, edge);
    pen.fillStyle = edge;
    pen.font = "700 10px sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText("?", 0, 0.8);
  };
}

function withHalo(colour: string, inner: Sketch): Sketch {
  return (pen) => {
    pen.beginPath();
    pen.arc(0, 0, 17, 0, 2 * Math.PI);
    pen.globalAlpha = 0.22;
    pen.fillStyle = colour;
    pen.fill();
    pen.globalAlpha = 0.8;
    pen.lineWidth = 1.5;
    pen.strokeStyle = colour;
    pen.stroke();
    pen.globalAlpha = 1;
    inner(pen);
  };
}

function chevron(colour: string): Sketch {
  return (pen) => {
    pen.lineCap = "round";
    pen.lineWidth = 2.6;
    pen.strokeStyle = colour;
    pen.beginPath();
    pen.moveTo(-2.5, -4);
    pen.lineTo(2, 0);
    pen.lineTo(-2.5, 4);
    pen.stroke();
  };
}

/** Gives the map every mark it may name. */
export function addIcons(map: GlMap, palette: Palette): void {
  const { edge } = palette;
  const sketches: Record<string, Sketch> = {
    moving: arrow(palette.moving, edge),
    stopped: square(palette.stopped, edge),
    offline: ring(palette.offline, edge),
    unclaimed: diamond(palette.unclaimed, edge),
    violating: withHalo(palette.violating, arrow(palette.violating, edge)),
    "violating-still": withHalo(palette.violating, square(palette.violating, edge)),
    chevron: chevron(palette.trackEdge),
  };
  for (const [name, sketch] of Object.entries(sketches)) {
    map.addImage(name, draw(sketch), { pixelRatio: PIXEL_RATIO });
  }
}
