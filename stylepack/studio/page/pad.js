// A pad between four styles: the weights are bilinear, as in the paper's grid of interpolations.

import { $, clamp, make } from "./dom.js";
import { thumbnail } from "./packs.js";
import { activeMix, change, commitLook, on, state } from "./state.js";

const STEP = 0.05;

let corners = [];
let dot = [0.5, 0.5];
let moving = false;

const share = (at) => [(1 - dot[0]) * (1 - dot[1]), dot[0] * (1 - dot[1]), (1 - dot[0]) * dot[1], dot[0] * dot[1]][at];

function mixed() {
  const weights = new Map();
  corners.forEach((reference, at) => weights.set(reference, (weights.get(reference) || 0) + Math.round(100 * share(at))));
  return [...weights].map(([reference, weight]) => [reference, Math.min(100, weight)]);
}

function place([across, down], commit) {
  dot = [clamp(across, 0, 1), clamp(down, 0, 1)];
  const mix = mixed();
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
    const picture = thumbnail(reference);
    document.querySelectorAll("#pad .corner")[at].style.backgroundImage = picture ? `url("${picture}")` : "";
  });
  Object.assign($("dot").style, { left: `${100 * dot[0]}%`, top: `${100 * dot[1]}%` });
  const pad = $("pad");
  pad.setAttribute("aria-valuenow", String(Math.round(100 * dot[0])));
  pad.setAttribute("aria-valuetext", `${Math.round(100 * dot[0])} % across, ${Math.round(100 * dot[1])} % down`);
}

function follow(event) {
  const box = $("pad").getBoundingClientRect();
  place([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height], false);
}

export function startPad() {
  const pad = $("pad");
  $("pad-section").addEventListener("toggle", () => {
    if (!$("pad-section").open || !state.packs.length) return;
    choose();
    show();
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
  addEventListener("studio-thumbnail", () => $("pad-section").open && show());
  on("photo packs", () => $("pad-section").open && (choose(), show()));
}
