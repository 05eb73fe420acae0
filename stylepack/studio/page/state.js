// What is painted (the look), what is edited (the target), and the way back; the address holds the look.

const FAR = 200; // steps back

const blank = () => ({ mix: [], regions: [], mask: "", limited: false, strength: 100, size: "", keepColors: false });

export const state = {
  packs: [],
  photo: null,
  hasStrength: true,
  look: blank(),
  target: "all", // "all", "mask" or the index of a region
  revision: 0,
};

const listeners = new Map();
let past = [];
let future = [];
let committed = JSON.stringify(state.look);

export function on(kinds, listener) {
  for (const kind of kinds.split(" ")) {
    if (!listeners.has(kind)) listeners.set(kind, []);
    listeners.get(kind).push(listener);
  }
}

export function emit(kind) {
  for (const listener of listeners.get(kind) || []) listener();
}

// Change the look.  `commit` makes it a step to go back to.
export function change(how, commit = true) {
  how(state.look);
  state.revision += 1;
  dispatchEvent(new CustomEvent("studio-change", { detail: { revision: state.revision, time: performance.now() } }));
  emit("look");
  if (commit) commitLook();
}

export function commitLook() {
  const now = JSON.stringify(state.look);
  if (now === committed) return;
  past.push(committed);
  past = past.slice(-FAR);
  future = [];
  committed = now;
  writeAddress();
  emit("history");
}

export const canUndo = () => past.length > 0;
export const canRedo = () => future.length > 0;

function go(from, to) {
  if (!from.length) return;
  to.push(committed);
  committed = from.pop();
  state.look = JSON.parse(committed);
  writeAddress();
  settleTarget();
  state.revision += 1;
  for (const kind of ["target", "look", "history"]) emit(kind);
}

export const undo = () => go(past, future);
export const redo = () => go(future, past);

function settleTarget() {
  if (typeof state.target === "number" && state.target >= state.look.regions.length) state.target = "all";
  if (state.target === "mask" && !state.look.limited) state.target = "all";
}

export function setTarget(target) {
  state.target = target;
  settleTarget();
  emit("target");
}

// The mix that sliders and styles change now.
export const activeMix = (look = state.look) =>
  typeof state.target === "number" ? look.regions[state.target].mix : look.mix;

export const activeMask = () =>
  typeof state.target === "number" ? state.look.regions[state.target].mask : state.target === "mask" ? state.look.mask : null;

const audible = (mix) => mix.filter(([, weight]) => weight > 0);

// What the server is asked to paint; null while nothing is mixed.
export function wish(look = state.look) {
  const mix = audible(look.mix);
  if (!mix.length) return null;
  return {
    mix,
    regions: look.regions.filter((one) => one.mask && audible(one.mix).length).map((one) => ({ mask: one.mask, mix: audible(one.mix) })),
    mask: look.limited ? look.mask : "",
    strength: look.strength,
    size: look.size === "" || look.size === "full" ? look.size : Number(look.size),
    keepColors: look.keepColors,
  };
}

export const pack = (reference) => state.packs.find((one) => one.reference === reference);

const written = (mix) => mix.map(([reference, weight]) => `${reference}:${weight}`).join(",");

function read(text) {
  const known = new Set(state.packs.map((one) => one.reference));
  return text.split(",").flatMap((part) => {
    const [reference, weight] = part.split(":");
    const number = Math.round(Number(weight));
    return known.has(reference) && number >= 0 && number <= 100 ? [[reference, number]] : [];
  });
}

let address = "";
let first = true;

function writeAddress() {
  const look = state.look;
  const fields = [];
  if (look.mix.length) fields.push(`mix=${written(look.mix)}`);
  for (const one of look.regions) fields.push(`region=${one.mask}:${written(one.mix)}`);
  if (look.limited) fields.push(`mask=${look.mask}`);
  if (look.strength !== 100) fields.push(`strength=${look.strength}`);
  if (look.size !== "") fields.push(`strokes=${look.size}`);
  if (look.keepColors) fields.push("colours=photo");
  address = fields.join("&");
  history.replaceState(null, "", `#${address}`);
}

export const addressChanged = () => decodeURIComponent(location.hash.slice(1)) !== address;

// Take the look from the address; masks that are not here any more are left out.
export async function readAddress(maskIsThere) {
  const fields = new URLSearchParams(location.hash.slice(1));
  const look = blank();
  look.mix = read(fields.get("mix") || "");
  for (const text of fields.getAll("region")) {
    const [mask] = text.split(":", 1);
    if (!mask || (await maskIsThere(mask))) look.regions.push({ mask, mix: read(text.slice(mask.length + 1)) });
  }
  const mask = fields.get("mask");
  if (mask !== null && (mask === "" || (await maskIsThere(mask)))) Object.assign(look, { limited: true, mask });
  const strength = Math.round(Number(fields.get("strength") ?? 100));
  look.strength = state.hasStrength && strength >= 0 && strength <= 150 ? strength : 100;
  const size = fields.get("strokes") || "";
  look.size = size === "full" || (Number(size) >= 16 && Number(size) <= 20000) ? size : "";
  look.keepColors = fields.get("colours") === "photo";
  state.look = look;
  settleTarget();
  for (const kind of ["target", "look"]) emit(kind);
  if (first) committed = JSON.stringify(look); // nothing to go back to
  first = false;
  commitLook();
}
