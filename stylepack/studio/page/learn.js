// Learning a painting in the background.

import { getBlob, getJson, postJson, sendFile } from "./api.js";
import { $, complain, packName, pause, toast } from "./dom.js";
import { toggle } from "./packs.js";
import { emit, pack, state } from "./state.js";

const POLL = 800; // milliseconds
const ENDED = ["idle", "done", "cancelled", "failed"];

let painting = null;
let following = false;

export function offerToLearn(file) {
  painting = file;
  URL.revokeObjectURL($("learn-painting").src);
  $("learn-painting").src = URL.createObjectURL(file);
  $("learn-name").value = packName(file.name);
  complain("learn-error", null);
  $("learn-dialog").showModal();
}

async function begin(event) {
  if (!$("learn-name").reportValidity()) return;
  event.preventDefault();
  $("learn-start").disabled = true;
  try {
    await sendFile("learn", { name: $("learn-name").value }, painting);
    $("learn-dialog").close();
    followLearning();
  } catch (error) {
    complain("learn-error", error);
  }
  $("learn-start").disabled = false;
}

async function show(progress, seen) {
  $("learning").hidden = ENDED.includes(progress.state);
  $("learning-title").textContent = progress.state === "learning" || progress.state === "measuring" ? `Learning ${progress.name}` : "Learning: getting ready";
  $("learn-progress").value = progress.total ? progress.done / progress.total : 0;
  $("learn-words").textContent = progress.state === "measuring" ? progress.words : progress.total ? `${progress.done} of ${progress.total} at most` : "";
  if (progress.preview === seen) return;
  const blob = await getBlob("learn/preview", { version: progress.preview });
  URL.revokeObjectURL($("learn-preview").src);
  $("learn-preview").src = URL.createObjectURL(blob);
}

async function finish(progress) {
  if (progress.state === "failed") toast(`Not learned: ${progress.words}`);
  if (progress.state === "cancelled") toast("Cancelled: nothing was installed");
  if (progress.state !== "done") return;
  const fresh = await getJson("state");
  state.packs = fresh.packs;
  emit("packs");
  toast(`'${progress.name}' is learned and in the mix`);
  if (pack(progress.name)) toggle(progress.name);
}

// Follow what is being learned, also after a reload.
export async function followLearning() {
  if (following) return;
  following = true;
  let seen = 0;
  try {
    for (;;) {
      const progress = await getJson("learn/state");
      await show(progress, seen);
      seen = progress.preview;
      if (ENDED.includes(progress.state)) {
        await finish(progress);
        break;
      }
      await pause(POLL);
    }
  } catch (error) {
    toast(error.message);
  }
  following = false;
}

export function startLearning() {
  $("add-style").addEventListener("click", () => $("painting-file").click());
  $("painting-file").addEventListener("change", () => {
    const [file] = $("painting-file").files;
    $("painting-file").value = "";
    if (file) offerToLearn(file);
  });
  $("learn-start").addEventListener("click", begin);
  $("learn-cancel").addEventListener("click", () => {
    $("learn-words").textContent = "stopping";
    postJson("learn/cancel", {}, {}).catch((error) => toast(error.message));
  });
}
