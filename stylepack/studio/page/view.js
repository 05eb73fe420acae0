// The picture: fitted or 1:1, painting and photograph beside each other, exact pixels at 1:1.

import { getBlob, post } from "./api.js";
import { $, clamp, complain, pause } from "./dom.js";
import { on, state, wish } from "./state.js";

const POLL = 300; // milliseconds between looks at how much of the whole is painted
const STEP = 60; // CSS pixels that an arrow key moves the picture

let zoomed = false;
let centre = [0.5, 0.5]; // of what is shown at 1:1, as shares of the picture
let holding = false;
let exactRun = null;
let listeners = [];

export const paperBox = () => $("paper").getBoundingClientRect();
export const isZoomed = () => zoomed;
export const onLayout = (listener) => listeners.push(listener);

export function drawFrame(bitmap, kind) {
  const canvas = $("painted");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  canvas.dataset.kind = kind;
  canvas.hidden = false;
  showBefore();
  say(kind === "best" ? "" : "sharpening");
}

export function showPhotographOnly() {
  $("painted").hidden = true;
  $("painted").dataset.kind = "photograph";
  showBefore();
  hideExact();
  say("");
}

function say(words) {
  $("sharpness").textContent = words;
  $("sharpness").hidden = !words || !zoomed;
}

// Called when the picture at rest is as sharp as it gets whole.
export function settled() {
  if (zoomed) paintExact();
}

function hideExact() {
  exactRun?.abort();
  exactRun = null;
  $("exact").hidden = true;
}

// The part of the picture that is to be seen at 1:1, in its pixels.
function visible() {
  const paper = paperBox();
  const stage = $("stage").getBoundingClientRect();
  const scale = state.photo.width / paper.width;
  const left = clamp(Math.floor((stage.left - paper.left) * scale), 0, state.photo.width - 1);
  const top = clamp(Math.floor((stage.top - paper.top) * scale), 0, state.photo.height - 1);
  const right = clamp(Math.ceil((stage.right - paper.left) * scale), left + 1, state.photo.width);
  const bottom = clamp(Math.ceil((stage.bottom - paper.top) * scale), top + 1, state.photo.height);
  return { left, top, width: right - left, height: bottom - top };
}

async function place(canvas, blob, part) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  const { width, height } = state.photo;
  Object.assign(canvas.style, {
    left: `${(100 * part.left) / width}%`,
    top: `${(100 * part.top) / height}%`,
    width: `${(100 * part.width) / width}%`,
    height: `${(100 * part.height) / height}%`,
  });
  Object.assign(canvas.dataset, part);
  canvas.hidden = false;
}

async function paintExact() {
  exactRun?.abort();
  const run = new AbortController();
  exactRun = run;
  const part = visible();
  const fields = { ...part, photo: state.photo.id };
  try {
    await place($("original-exact"), await getBlob("photo/crop", fields, run.signal), part);
    const look = wish();
    while (look && !run.signal.aborted) {
      const response = await post("crop", fields, JSON.stringify(look), { signal: run.signal });
      if (response.status === 200) {
        await place($("exact"), await response.blob(), part);
        say("");
        return;
      }
      const { share } = await response.json();
      say(`painting every pixel: ${Math.round(100 * share)} %`);
      await pause(POLL);
    }
  } catch (error) {
    if (error.name !== "AbortError") complain("stage-error", error);
  }
}

let soon = 0;

function paintExactSoon() {
  clearTimeout(soon);
  if (zoomed && state.photo) soon = setTimeout(paintExact, 150);
}

export function layOut() {
  if (!state.photo) return;
  const { width, height } = state.photo;
  const stage = $("stage");
  const paper = $("paper");
  let size;
  if (zoomed) {
    size = [width / devicePixelRatio, height / devicePixelRatio];
  } else {
    const scale = Math.min(stage.clientWidth / width, stage.clientHeight / height);
    size = [width * scale, height * scale];
  }
  const offset = size.map((side, at) => {
    const room = at ? stage.clientHeight : stage.clientWidth;
    if (side <= room) return (room - side) / 2;
    return clamp(room / 2 - side * centre[at], room - side, 0);
  });
  const whole = zoomed ? offset.map((one) => Math.round(one * devicePixelRatio) / devicePixelRatio) : offset;
  Object.assign(paper.style, { width: `${size[0]}px`, height: `${size[1]}px`, transform: `translate(${whole[0]}px, ${whole[1]}px)` });
  for (const listener of listeners) listener();
}

export function zoom(to, at = null) {
  if (to === zoomed || !state.photo) return;
  zoomed = to;
  if (at) centre = at;
  $("stage").classList.toggle("zoomed", zoomed);
  $("fit").setAttribute("aria-pressed", String(!zoomed));
  $("full").setAttribute("aria-pressed", String(zoomed));
  $("original-exact").hidden = true;
  hideExact();
  layOut();
  say("");
  paintExactSoon();
}

function move(right, down) {
  const paper = paperBox();
  centre = [clamp(centre[0] + right / paper.width, 0, 1), clamp(centre[1] + down / paper.height, 0, 1)];
  layOut();
  paintExactSoon();
}

export function showBefore() {
  const share = holding || $("painted").hidden ? 100 : Number($("compare").value);
  $("before").style.clipPath = `inset(0 ${100 - share}% 0 0)`;
  $("divider").hidden = share === 0 || share === 100;
  $("divider").style.left = `${share}%`;
}

export function hold(on) {
  holding = on;
  $("hold").setAttribute("aria-pressed", String(on));
  showBefore();
}

function shareAt(event) {
  const paper = paperBox();
  return [(event.clientX - paper.left) / paper.width, (event.clientY - paper.top) / paper.height];
}

function followPointer() {
  const stage = $("stage");
  let last = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button, #overlay, #brush-bar") || !state.photo || event.button) return;
    last = [event.clientX, event.clientY, event.target.id === "divider"];
    if (zoomed || last[2]) stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!last) return;
    if (last[2]) {
      $("compare").value = Math.round(100 * clamp(shareAt(event)[0], 0, 1));
      showBefore();
    } else if (zoomed) {
      move(last[0] - event.clientX, last[1] - event.clientY);
    }
    last = [event.clientX, event.clientY, last[2]];
  });
  for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, () => (last = null));
  stage.addEventListener("dblclick", (event) => {
    if (!event.target.closest("#overlay, #brush-bar")) zoom(!zoomed, shareAt(event).map((one) => clamp(one, 0, 1)));
  });
  stage.addEventListener("wheel", (event) => {
    if (!zoomed) return;
    event.preventDefault();
    move(event.deltaX, event.deltaY);
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way && zoomed && event.target === stage) {
      event.preventDefault();
      move(way[0] * STEP, way[1] * STEP);
    }
  });
}

function followKeys() {
  const typing = (event) => event.target.closest("input:not([type=range], [type=checkbox]), textarea, select, dialog");
  addEventListener("keydown", (event) => {
    if (typing(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "z" && state.photo) zoom(!zoomed);
    if (event.key === "c" && !event.repeat) hold(true);
  });
  addEventListener("keyup", (event) => event.key === "c" && hold(false));
  addEventListener("blur", () => hold(false));
  const button = $("hold");
  button.addEventListener("pointerdown", () => hold(true));
  for (const kind of ["pointerup", "pointerleave", "pointercancel", "blur"]) button.addEventListener(kind, () => hold(false));
  button.addEventListener("keydown", (event) => (event.key === " " || event.key === "Enter") && hold(true));
  button.addEventListener("keyup", () => hold(false));
}

async function newPhoto() {
  const there = Boolean(state.photo);
  $("paper").hidden = !there;
  $("empty").hidden = there;
  $("photo-name").textContent = there ? `${state.photo.name}, ${state.photo.width} × ${state.photo.height}` : "";
  for (const id of ["copy", "save"]) $(id).disabled = !there;
  if (!there) return;
  hideExact();
  $("painted").hidden = true;
  $("original-exact").hidden = true;
  centre = [0.5, 0.5];
  layOut();
  const blob = await getBlob("photo/shown", { photo: state.photo.id });
  URL.revokeObjectURL($("original").src);
  $("original").src = URL.createObjectURL(blob);
}

export function startView() {
  new ResizeObserver(() => {
    layOut();
    paintExactSoon();
  }).observe($("stage"));
  $("compare").addEventListener("input", showBefore);
  $("fit").addEventListener("click", () => zoom(false));
  $("full").addEventListener("click", () => zoom(true));
  on("photo", () => newPhoto().catch((error) => complain("stage-error", error)));
  on("look", hideExact);
  followPointer();
  followKeys();
  showBefore();
}
