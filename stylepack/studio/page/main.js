// The beginning: state from the server and the address, then every part of the page.

import { getJson } from "./api.js";
import { startBrush } from "./brush.js";
import { $, complain } from "./dom.js";
import { startDropping } from "./drop.js";
import { followLearning, startLearning } from "./learn.js";
import { refresh } from "./live.js";
import { maskIsThere } from "./masks.js";
import { startMixer } from "./mixer.js";
import { startPacks } from "./packs.js";
import { startPad } from "./pad.js";
import { startSaving } from "./save.js";
import { addressChanged, canRedo, canUndo, emit, on, readAddress, redo, state, undo } from "./state.js";
import { startTargets } from "./targets.js";
import { startView } from "./view.js";

function startHistory() {
  $("undo").addEventListener("click", undo);
  $("redo").addEventListener("click", redo);
  on("history", () => {
    $("undo").disabled = !canUndo();
    $("redo").disabled = !canRedo();
  });
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.target.closest("dialog, input[type=search]")) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) redo();
    else undo();
  });
}

async function start() {
  for (const begin of [startView, startPacks, startMixer, startTargets, startBrush, startPad, startSaving, startLearning, startDropping, startHistory]) begin();
  on("look photo", refresh);
  try {
    const { packs, photo, hasStrength, learning } = await getJson("state");
    Object.assign(state, { packs, photo, hasStrength });
    emit("packs");
    emit("photo");
    await readAddress(maskIsThere);
    addEventListener("hashchange", () => addressChanged() && readAddress(maskIsThere));
    if (!["idle", "done", "cancelled", "failed"].includes(learning.state)) followLearning();
  } catch (error) {
    complain("stage-error", error);
  }
  document.documentElement.dataset.ready = "yes";
}

start();
