// A pad between four styles: the weights are bilinear, as in the paper's grid of interpolations,
// which is painted on it in small.

import { post } from "./api.js";
import { $, clamp, make } from "./dom.js";
import { activeMix, change, commitLook, on, state, wish } from "./state.js";

const STEP = 0.05;
const TILES = 5; // a side
const TILE = 96; // pixels of a tile's long side
const LATER = 600; // milliseconds: the grid is painted when the picture is

let corners = [];
let dot = [0.5, 0.5];
let moving = false;

let painted = ""; // what the grid shows

function mixed([across, down]) {
  const shares = [(1 - across) * (1 - down), across * (1 - down), (1 - across) * down, across * down];
  const weights = new Map();
  corners.forEach((reference, at) => weights.set(reference, (weights.get(reference) || 0) + Math.round(100 * shares[at])));
  return [...weights].map(([reference, weight]) => [reference, Math.min(100, weight)]);
}

function place([across, down], commit) {
  dot = [clamp(across, 0, 1), clamp(down, 0, 1)];
  const mix = mixed(dot);
  change((look) => activeMix(look).splice(0, Infinity, ...mix), commit);
  show();
}

// The corners are the mix's styles, and others where it has fewer than four.
function choose() {
  const first = activeMix().map(([reference]) => reference);
  const others = state.packs.map((one) => one.reference).filter((reference) => !first.includes(reference));
  corners = [...first, ...others].slice(0, 4);
  while (corners.length && corners.length < 4) corners.push(corners[0]);
  const weights = corners.map((reference) => activeMix().find(([one]) => one === reference)?.[1] || 0);
  const total = weights.reduce((sum, one) => sum + one, 0);
  dot = total ? [(weights[1] + weights[3]) / total, (weights[2] + weights[3]) / total] : [0.5, 0.5];
}

function show() {
  corners.forEach((reference, at) => {
    const select = $(`corner-${at}`);
    if (select.options.length !== state.packs.length) {
      select.replaceChildren(...state.packs.map((one) => make("option", { value: one.reference, textContent: one.title })));
    }
    select.value = reference;
  });
  Object.assign($("dot").style, { left: `${100 * dot[0]}%`, top: `${100 * dot[1]}%` });
  const pad = $("pad");
  pad.setAttribute("aria-valuenow", String(Math.round(100 * dot[0])));
  pad.setAttribute("aria-valuetext", `${Math.round(100 * dot[0])} % across, ${Math.round(100 * dot[1])} % down`);
}

const open = () => $("pad-section").open && state.packs.length > 0;

// Paint the grid tile by tile, the corners first, until it is another.
async function paintGrid() {
  const { strength, size, keepColors } = state.look;
  const wanted = JSON.stringify([state.photo?.id, corners, strength, size, keepColors]);
  if (!open() || !state.photo || wanted === painted) return;
  painted = wanted;
  const { width, height } = state.photo;
  const scale = TILE / Math.max(width, height);
  const tile = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const canvas = $("grid");
  Object.assign(canvas, { width: TILES * tile[0], height: TILES * tile[1] });
  $("pad").style.aspectRatio = clamp(width / height, 0.7, 2);
  const places = [...Array(TILES * TILES).keys()].map((at) => [at % TILES, Math.floor(at / TILES)]);
  const middle = (TILES - 1) / 2;
  const far = ([x, y]) => Math.min(Math.abs(x - middle), Math.abs(y - middle));
  places.sort((one, other) => far(other) - far(one));
  for (const [x, y] of places) {
    const look = wish({ mix: mixed([x / (TILES - 1), y / (TILES - 1)]), regions: [], strength, size, keepColors });
    try {
      const response = await post("frame", { kind: "tile", photo: state.photo.id }, JSON.stringify(look));
      if (painted !== wanted) return;
      if (response.status !== 200) continue;
      const bitmap = await createImageBitmap(await response.blob());
      canvas.getContext("2d").drawImage(bitmap, x * tile[0], y * tile[1], ...tile);
    } catch {
      return; // the picture says what is wrong
    }
  }
  dispatchEvent(new CustomEvent("studio-grid"));
}

let later = 0;

function paintGridSoon() {
  clearTimeout(later);
  if (open()) later = setTimeout(paintGrid, LATER);
}

function follow(event) {
  const box = $("pad").getBoundingClientRect();
  place([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height], false);
}

export function startPad() {
  const pad = $("pad");
  $("pad-section").addEventListener("toggle", () => {
    if (!open()) return;
    choose();
    show();
    paintGridSoon();
  });
  pad.addEventListener("pointerdown", (event) => {
    moving = true;
    pad.setPointerCapture(event.pointerId);
    follow(event);
  });
  pad.addEventListener("pointermove", (event) => moving && follow(event));
  for (const kind of ["pointerup", "pointercancel"]) {
    pad.addEventListener(kind, () => {
      moving = false;
      commitLook();
    });
  }
  pad.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    place([dot[0] + way[0] * STEP, dot[1] + way[1] * STEP], true);
  });
  for (const at of [0, 1, 2, 3]) {
    $(`corner-${at}`).addEventListener("change", (event) => {
      corners[at] = event.target.value;
      place(dot, true);
    });
  }
  on("photo packs", () => open() && (choose(), show()));
  on("photo packs look", paintGridSoon);
}
