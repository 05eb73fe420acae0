// Masks: grey values by id; the server keeps them, a canvas works on one at a time.

import { getBlob, post } from "./api.js";
import { state } from "./state.js";

const LONGEST = 1024; // pixels

const known = new Map(); // id -> canvas

// The size of this photograph's masks.
export function maskSize() {
  const { width, height } = state.photo;
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

export function newCanvas(width, height) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "black";
  context.fillRect(0, 0, width, height);
  return [canvas, context];
}

// Fetch a mask if it is not here; false where the server does not have it either.
export async function maskIsThere(id) {
  if (known.has(id)) return true;
  try {
    const bitmap = await createImageBitmap(await getBlob(`mask/${encodeURIComponent(id)}`), { colorSpaceConversion: "none" });
    const [canvas, context] = newCanvas(bitmap.width, bitmap.height);
    context.drawImage(bitmap, 0, 0);
    known.set(id, canvas);
    return true;
  } catch {
    return false;
  }
}

export const maskCanvas = (id) => known.get(id);

// Send the canvas's greys; return their id, "" where all is black.
export async function keepMask(canvas) {
  const { width, height } = canvas;
  const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const greys = new Uint8Array(width * height);
  for (let at = 0; at < greys.length; at += 1) greys[at] = pixels[4 * at];
  if (!greys.some(Boolean)) return "";
  const { id } = await (await post("mask", { width, height }, greys)).json();
  const [copy, context] = newCanvas(width, height);
  context.drawImage(canvas, 0, 0);
  known.set(id, copy);
  return id;
}
