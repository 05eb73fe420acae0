// The sliders: one for each style of the mix, and strength, strokes and colours.

import { $, make } from "./dom.js";
import { thumbnail } from "./packs.js";
import { activeMix, change, commitLook, on, pack, state } from "./state.js";

const SIZES = ["full", "", "1400", "1200", "1000", "800", "640", "512", "400", "320", "256", "200"];

const percent = (weight, total) => (total ? `${Math.round((100 * weight) / total)} %` : "0 %");

function row(reference, weight) {
  const title = pack(reference)?.title || reference;
  const picture = make("img", { alt: "" });
  if (thumbnail(reference)) picture.src = thumbnail(reference);
  picture.dataset.thumbnail = reference;
  const slider = make("input", { type: "range", min: 0, max: 100, value: weight, "aria-label": `Weight of ${title}` });
  const shown = make("output");
  const remove = make("button", { type: "button", className: "plain remove", textContent: "×", title: "Take out", "aria-label": `Take out ${title}` });
  slider.addEventListener("input", () => change((look) => set(look, reference, Number(slider.value)), false));
  slider.addEventListener("change", commitLook);
  remove.addEventListener("click", () => {
    change((look) => {
      const mix = activeMix(look);
      mix.splice(mix.findIndex(([one]) => one === reference), 1);
    });
    $("mix").querySelector("input")?.focus();
  });
  const made = make("div", { className: "part" }, picture, make("span", { className: "title", textContent: title, title }), shown, remove, slider);
  made.dataset.reference = reference;
  return made;
}

function set(look, reference, weight) {
  activeMix(look).find(([one]) => one === reference)[1] = weight;
}

function show() {
  const mix = activeMix();
  const total = mix.reduce((sum, [, weight]) => sum + weight, 0);
  const place = $("mix");
  const there = [...place.children].map((one) => one.dataset.reference).join();
  if (there !== mix.map(([reference]) => reference).join()) place.replaceChildren(...mix.map(([reference, weight]) => row(reference, weight)));
  mix.forEach(([reference, weight], at) => {
    const part = place.children[at];
    const slider = part.querySelector("input");
    if (Number(slider.value) !== weight) slider.value = weight;
    const words = percent(weight, total);
    part.querySelector("output").textContent = words;
    slider.setAttribute("aria-valuetext", words);
  });
  $("mix-hint").hidden = mix.length > 1;
  $("mix-hint").textContent = mix.length === 1 ? "Add another style to mix." : typeof state.target === "number" ? "Choose a style for this region." : "Choose a style, then another: sliders mix them.";
  $("keep-pack").disabled = !state.look.mix.some(([, weight]) => weight > 0);
}

function showFinish() {
  const { strength, size, keepColors } = state.look;
  $("strength").value = strength;
  $("strength-shown").textContent = `${strength} %`;
  $("strength").disabled = !state.hasStrength;
  const at = SIZES.indexOf(String(size));
  $("size").value = at >= 0 ? at : SIZES.findIndex((one) => Number(one) > 0 && Number(one) <= Number(size));
  const words = size === "" ? "automatic" : size === "full" ? "finest" : `as at ${size} px`;
  $("size-shown").textContent = words;
  $("size").setAttribute("aria-valuetext", words);
  $("keep-colors").checked = keepColors;
}

export function startMixer() {
  $("strength").addEventListener("input", () => change((look) => (look.strength = Number($("strength").value)), false));
  $("size").addEventListener("input", () => change((look) => (look.size = SIZES[Number($("size").value)]), false));
  for (const id of ["strength", "size"]) $(id).addEventListener("change", commitLook);
  $("keep-colors").addEventListener("change", () => change((look) => (look.keepColors = $("keep-colors").checked)));
  on("look target packs", show);
  on("look packs", showFinish);
}
