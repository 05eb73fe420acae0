// Every style as a thumbnail on this photograph; a click adds it to the mix or takes it out.

import { getBlob } from "./api.js";
import { $, make } from "./dom.js";
import { activeMix, change, on, state } from "./state.js";

const AT_ONCE = 2;
const FIRST_WEIGHT = 50;

const buttons = new Map(); // by reference
const pictures = new Map(); // object URLs by reference, of this photograph
const wanted = new Set(); // asked for, of this photograph
let waiting = [];
let loading = 0;
let generation = 0;

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    watcher.unobserve(entry.target);
    want(entry.target.dataset.reference);
  }
}, { rootMargin: "200px" });

function want(reference) {
  if (wanted.has(reference)) return;
  wanted.add(reference);
  waiting.push(reference);
  load();
}

async function load() {
  while (loading < AT_ONCE && waiting.length && state.photo) {
    const reference = waiting.shift();
    const mine = generation;
    loading += 1;
    getBlob("thumbnail", { pack: reference, photo: state.photo.id })
      .then((blob) => {
        if (mine === generation && blob.size) show(reference, URL.createObjectURL(blob));
      })
      .catch(() => {}) // the frame says what is wrong
      .finally(() => {
        loading -= 1;
        load();
      });
  }
}

function show(reference, address) {
  pictures.set(reference, address);
  const image = buttons.get(reference)?.querySelector("img");
  if (image) image.src = address;
  for (const other of document.querySelectorAll("[data-thumbnail]")) {
    if (other.dataset.thumbnail === reference) other.src = address;
  }
  dispatchEvent(new CustomEvent("studio-thumbnail"));
}

export function thumbnail(reference) {
  want(reference);
  return pictures.get(reference) || "";
}

export function toggle(reference) {
  change((look) => {
    const mix = activeMix(look);
    const at = mix.findIndex(([one]) => one === reference);
    if (at >= 0) mix.splice(at, 1);
    else mix.push([reference, mix.length ? FIRST_WEIGHT : 100]);
  });
}

function build() {
  buttons.clear();
  for (const one of state.packs) {
    const words = [one.title, one.artist, one.year].filter(Boolean).join(", ");
    const button = make("button",
      { type: "button", className: "pack", title: words, "aria-pressed": "false", "aria-label": words },
      make("span", { className: "frame" }, make("img", { alt: "", decoding: "async" }), make("span", { className: "share" })),
      make("span", { className: "name", textContent: one.title }));
    button.dataset.reference = one.reference;
    button.addEventListener("click", () => toggle(one.reference));
    buttons.set(one.reference, button);
  }
  $("packs").replaceChildren(...buttons.values());
  forget();
  search();
  mark();
}

function forget() {
  generation += 1;
  waiting = [];
  wanted.clear();
  for (const address of pictures.values()) URL.revokeObjectURL(address);
  pictures.clear();
  const ratio = state.photo ? state.photo.width / state.photo.height : 1.4;
  $("packs").style.setProperty("--ratio", Math.min(1.8, Math.max(0.7, ratio)));
  for (const button of buttons.values()) {
    button.querySelector("img").removeAttribute("src");
    watcher.unobserve(button);
    if (state.photo) watcher.observe(button);
  }
  for (const other of document.querySelectorAll("[data-thumbnail]")) want(other.dataset.thumbnail);
}

function search() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const one of state.packs) {
    const text = `${one.reference} ${one.title} ${one.artist} ${one.year}`.toLowerCase();
    const there = words.every((word) => text.includes(word));
    buttons.get(one.reference).hidden = !there;
    found += there;
  }
  $("nothing-found").hidden = found > 0;
}

function mark() {
  const mix = activeMix();
  const total = mix.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [reference, button] of buttons) {
    const part = mix.find(([one]) => one === reference);
    button.setAttribute("aria-pressed", part ? "true" : "false");
    button.querySelector(".share").textContent = part && total ? `${Math.round((100 * part[1]) / total)} %` : "";
  }
}

export function startPacks() {
  $("search").addEventListener("input", search);
  on("packs", build);
  on("photo", forget);
  on("look target", mark);
}
