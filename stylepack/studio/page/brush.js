// The brush: paints the mask of a region, or the one that limits the painting, with a soft edge.

import { $, clamp, complain } from "./dom.js";
import { keepMask, maskCanvas, maskSize, newCanvas } from "./masks.js";
import { activeMask, change, on, state } from "./state.js";
import { layOut, onLayout } from "./view.js";

const TINT = [224, 122, 48];
const OPACITY = 0.55;
const KEY_STEP = 0.02; // of the long side

let work = null; // the mask as it is being painted
let context = null;
let shownId = null;
let erasing = false;
let stroke = null; // the last point of a stroke, in the mask's pixels
let cursor = null;
let keeping = Promise.resolve();

const radius = () => (Math.max(work.width, work.height) * Number($("brush-size").value)) / 200;

function stamp(x, y) {
  const reach = radius();
  const core = reach * (1 - Number($("brush-soft").value) / 100) * 0.999;
  const [inside, outside] = erasing ? ["black", "white"] : ["white", "black"];
  const gradient = context.createRadialGradient(x, y, core, x, y, reach);
  gradient.addColorStop(0, inside);
  gradient.addColorStop(1, outside);
  context.globalCompositeOperation = erasing ? "darken" : "lighten";
  context.fillStyle = gradient;
  context.fillRect(x - reach - 1, y - reach - 1, 2 * reach + 2, 2 * reach + 2);
  context.globalCompositeOperation = "source-over";
}

function draw(from, to) {
  const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / Math.max(1, radius() / 5)));
  for (let step = 1; step <= steps; step += 1) {
    stamp(from[0] + ((to[0] - from[0]) * step) / steps, from[1] + ((to[1] - from[1]) * step) / steps);
  }
}

function showOverlay() {
  const overlay = $("overlay");
  if (overlay.hidden || !work) return;
  overlay.width = work.width;
  overlay.height = work.height;
  const target = overlay.getContext("2d");
  const image = context.getImageData(0, 0, work.width, work.height);
  const { data } = image;
  for (let at = 0; at < data.length; at += 4) {
    data[at + 3] = data[at] * OPACITY;
    [data[at], data[at + 1], data[at + 2]] = TINT;
  }
  target.putImageData(image, 0, 0);
  if (cursor) {
    target.lineWidth = Math.max(1, work.width / 500);
    for (const [colour, reach] of [["white", radius()], ["black", radius() + target.lineWidth]]) {
      target.strokeStyle = colour;
      target.beginPath();
      target.arc(cursor[0], cursor[1], reach, 0, 2 * Math.PI);
      target.stroke();
    }
  }
}

let drawing = 0;
const showSoon = () => {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(showOverlay);
};

function setMask(id) {
  const target = state.target;
  change((look) => {
    if (target === "mask") look.mask = id;
    else if (look.regions[target]) look.regions[target].mask = id;
  });
}

// Keep what is painted: one after the other, so that the last stroke wins.
function keep() {
  keeping = keeping.then(async () => {
    try {
      const id = await keepMask(work);
      shownId = id;
      setMask(id);
    } catch (error) {
      complain("stage-error", error);
    }
  });
  return keeping;
}

function show() {
  const id = activeMask();
  const active = id !== null && Boolean(state.photo);
  $("overlay").hidden = !active;
  $("brush-bar").hidden = !active;
  if (!active) {
    shownId = null;
    layOut();
    return;
  }
  const key = `${state.photo.id} ${id}`;
  if (stroke || (shownId === id && work && work.dataset.key === key)) return;
  const kept = maskCanvas(id);
  const [width, height] = kept ? [kept.width, kept.height] : maskSize();
  [work, context] = newCanvas(width, height);
  if (kept) context.drawImage(kept, 0, 0);
  work.dataset.key = key;
  shownId = id;
  layOut();
  showSoon();
}

function at(event) {
  const box = $("overlay").getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * work.width, ((event.clientY - box.top) / box.height) * work.height];
}

function followPointer(overlay) {
  overlay.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    overlay.focus();
    overlay.setPointerCapture(event.pointerId);
    cursor = stroke = at(event);
    stamp(...stroke);
    showSoon();
  });
  overlay.addEventListener("pointermove", (event) => {
    cursor = at(event);
    if (stroke) {
      draw(stroke, cursor);
      stroke = cursor;
    }
    showSoon();
  });
  overlay.addEventListener("pointerup", () => {
    if (!stroke) return;
    stroke = null;
    keep();
  });
  overlay.addEventListener("pointercancel", () => (stroke = null));
  overlay.addEventListener("pointerleave", () => {
    if (!stroke) cursor = null;
    showSoon();
  });
}

function followKeys(overlay) {
  overlay.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const step = KEY_STEP * Math.max(work.width, work.height) * (event.shiftKey ? 4 : 1);
    cursor ??= [work.width / 2, work.height / 2];
    if (way) cursor = [clamp(cursor[0] + way[0] * step, 0, work.width), clamp(cursor[1] + way[1] * step, 0, work.height)];
    if (event.key === " ") {
      stamp(...cursor);
      keep();
    }
    if (way || event.key === " ") event.preventDefault();
    showSoon();
  });
}

function fill(how) {
  how();
  showSoon();
  keep();
}

export function startBrush() {
  const overlay = $("overlay");
  overlay.tabIndex = 0;
  overlay.setAttribute("role", "application");
  overlay.setAttribute("aria-label", "Mask. Arrow keys move the brush, space paints.");
  followPointer(overlay);
  followKeys(overlay);
  for (const [id, wanted] of [["brush", false], ["eraser", true]]) {
    $(id).addEventListener("click", () => {
      erasing = wanted;
      $("brush").setAttribute("aria-pressed", String(!erasing));
      $("eraser").setAttribute("aria-pressed", String(erasing));
    });
  }
  $("mask-clear").addEventListener("click", () => fill(() => {
    context.fillStyle = "black";
    context.fillRect(0, 0, work.width, work.height);
  }));
  $("mask-invert").addEventListener("click", () => fill(() => {
    context.globalCompositeOperation = "difference";
    context.fillStyle = "white";
    context.fillRect(0, 0, work.width, work.height);
    context.globalCompositeOperation = "source-over";
  }));
  onLayout(showSoon);
  on("look target photo", show);
}
