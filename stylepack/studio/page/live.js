// Frames: one request at a time while something moves, the newest look next; sharper ones at rest.

import { post } from "./api.js";
import { complain } from "./dom.js";
import { state, wish } from "./state.js";
import { drawFrame, showPhotographOnly, settled } from "./view.js";

const REST = 160; // milliseconds without a change

let moving = false; // a quick frame is on its way
let again = false; // and another one is wanted after it
let resting = 0;
let sharpening = null;
let elsewhere = 0; // milliseconds that frames take besides being painted

const body = (look) => JSON.stringify(look);

let drawing = Promise.resolve(); // frames are drawn in the order of their requests

async function draw(blob, size, revision, kind, after) {
  const bitmap = await createImageBitmap(blob);
  await after;
  drawFrame(bitmap, kind);
  await new Promise((drawn) => requestAnimationFrame(() => drawn()));
  dispatchEvent(new CustomEvent("studio-frame", { detail: { revision, kind, time: performance.now(), size } }));
}

async function receive(response, revision, kind) {
  const blob = await response.blob();
  drawing = draw(blob, response.headers.get("x-size"), revision, kind, drawing);
  return drawing;
}

async function quick() {
  const look = wish();
  const revision = state.revision;
  if (!look || !state.photo) {
    showPhotographOnly();
    return;
  }
  const start = performance.now();
  const response = await post("frame", { kind: "quick", photo: state.photo.id, elsewhere: Math.round(elsewhere) }, body(look));
  if (response.status !== 200) return;
  // The next frame may be painted while this one is drawn.
  const blob = await response.blob();
  const painting = Number(response.headers.get("x-milliseconds"));
  drawing = draw(blob, response.headers.get("x-size"), revision, "quick", drawing);
  drawing.then(() => {
    const besides = performance.now() - start - painting;
    elsewhere += 0.3 * (Math.min(besides, 2000) - elsewhere);
  });
  complain("stage-error", null);
}

async function sharpen() {
  const look = wish();
  const revision = state.revision;
  if (!look || !state.photo) return;
  sharpening = new AbortController();
  const { signal } = sharpening;
  try {
    for (const kind of ["better", "best"]) {
      const response = await post("frame", { kind, photo: state.photo.id }, body(look), { signal });
      if (response.status !== 200 || signal.aborted) return;
      await receive(response, revision, kind);
    }
    settled();
  } catch (error) {
    if (error.name !== "AbortError") complain("stage-error", error);
  }
}

function restSoon() {
  clearTimeout(resting);
  resting = setTimeout(sharpen, REST);
}

// Ask for a frame of the look as it is now.
export async function refresh() {
  sharpening?.abort();
  clearTimeout(resting);
  again = true;
  if (moving) return;
  moving = true;
  while (again) {
    again = false;
    try {
      await quick();
    } catch (error) {
      complain("stage-error", error);
    }
  }
  moving = false;
  await drawing;
  if (!moving) restSoon();
}
