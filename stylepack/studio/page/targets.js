// What is edited: the mix everywhere, a region with its own, or the mask that limits the painting.

import { $, make } from "./dom.js";
import { change, on, setTarget, state } from "./state.js";

const MOST_REGIONS = 16;

function choice(target, words, removable) {
  const chosen = state.target === target;
  const button = make("button", { type: "button", role: "radio", className: "target", textContent: words, "aria-checked": String(chosen), tabIndex: chosen ? 0 : -1 });
  button.dataset.target = String(target);
  button.addEventListener("click", () => setTarget(target));
  if (!removable) return button;
  const remove = make("button", { type: "button", className: "plain remove", textContent: "×", title: "Remove", "aria-label": `Remove ${words}` });
  remove.addEventListener("click", () => {
    state.target = "all";
    change((look) => {
      if (target === "mask") Object.assign(look, { limited: false, mask: "" });
      else look.regions.splice(target, 1);
    });
    setTarget("all");
  });
  return make("span", { className: "removable" }, button, remove);
}

function adder(words, label, how, disabled) {
  const button = make("button", { type: "button", className: "plain", textContent: words, title: label, disabled });
  button.addEventListener("click", how);
  return button;
}

function addRegion() {
  change((look) => look.regions.push({ mask: "", mix: [] }), false);
  setTarget(state.look.regions.length - 1);
}

function addMask() {
  change((look) => (look.limited = true), false);
  setTarget("mask");
}

function show() {
  const { regions, limited } = state.look;
  const adders = [
    adder("+ Region", "Another mix where you brush", addRegion, !state.photo || regions.length >= MOST_REGIONS),
    ...(limited ? [] : [adder("+ Mask", "Paint only where you brush", addMask, !state.photo)]),
  ];
  const focused = document.activeElement?.dataset?.target;
  $("targets").replaceChildren(
    choice("all", "Everywhere", false),
    ...regions.map((_, at) => choice(at, `Region ${at + 1}`, true)),
    ...(limited ? [choice("mask", "Mask", true)] : []),
    ...adders,
  );
  if (focused !== undefined) $("targets").querySelector(`[data-target="${CSS.escape(focused)}"]`)?.focus();
}

export function startTargets() {
  on("look target photo", show);
  $("targets").addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const all = [...$("targets").querySelectorAll(".target")];
    const at = all.indexOf(event.target);
    if (!way || at < 0) return;
    event.preventDefault();
    const next = all[(at + way + all.length) % all.length].dataset.target;
    setTarget(/^\d+$/.test(next) ? Number(next) : next);
    $("targets").querySelector('[aria-checked="true"]').focus();
  });
  show();
}
