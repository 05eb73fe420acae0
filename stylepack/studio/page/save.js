// What is kept: the picture, the command, the mix as a pack.

import { getBlob, getJson, postJson } from "./api.js";
import { $, complain, make, packName, pause, toast } from "./dom.js";
import { emit, state, wish } from "./state.js";

const POLL = 250; // milliseconds between looks at how much is painted
const NOTHING = "Choose a style first: this is the photograph as it is.";

async function savePicture() {
  const look = wish();
  if (!look) {
    toast(NOTHING);
    return;
  }
  const button = $("save");
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  toast("Painting at full size");
  try {
    const fields = { photo: state.photo.id };
    let saved = await postJson("save", fields, look);
    while (saved.share !== undefined) {
      toast(`Painting at full size: ${Math.round(100 * saved.share)} %`);
      await pause(POLL);
      saved = await postJson("save", fields, look);
    }
    const download = make("button", { type: "button", textContent: "Download" });
    download.id = "download";
    download.addEventListener("click", async () => {
      const address = URL.createObjectURL(await getBlob(`saved/${saved.number}`));
      make("a", { href: address, download: saved.name }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60000);
    });
    toast(`Saved ${saved.path}`, download);
  } catch (error) {
    complain("stage-error", error);
    toast("");
  }
  button.disabled = false;
  button.removeAttribute("aria-busy");
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    $("command").select();
    return document.execCommand("copy");
  }
}

async function showCommand() {
  const look = wish();
  if (!look) {
    toast(NOTHING);
    return;
  }
  complain("command-error", null);
  $("command").value = "";
  $("command-note").textContent = "";
  $("command-dialog").showModal();
  try {
    const { command, typed } = await postJson("command", { photo: state.photo.id, masks: 1 }, look);
    $("command").value = command;
    const notes = [(await toClipboard(command)) ? "Copied." : "Select it to copy."];
    if (look.mask || look.regions.length) notes.push("Its masks are saved in the studio's folder.");
    notes.push(typed ? "A folder in the photograph's place paints all of its photographs." : "Run it in the photograph's folder, or put a folder in its place.");
    $("command-note").textContent = notes.join(" ");
    $("command").focus();
    $("command").select();
  } catch (error) {
    complain("command-error", error);
  }
}

function offerPack() {
  const names = state.look.mix.filter(([, weight]) => weight > 0).map(([reference]) => reference.split("/").pop());
  $("pack-name").value = packName(names.join("-"));
  $("pack-words").value = "";
  complain("pack-error", null);
  $("pack-dialog").showModal();
  $("pack-name").select();
}

async function savePack(event) {
  if (!$("pack-name").reportValidity()) return;
  event.preventDefault();
  $("pack-save").disabled = true;
  try {
    const { words } = await postJson("pack", {}, { look: wish(), name: $("pack-name").value, title: $("pack-words").value });
    $("pack-dialog").close();
    state.packs = (await getJson("state")).packs;
    emit("packs");
    toast(words);
  } catch (error) {
    complain("pack-error", error);
  }
  $("pack-save").disabled = false;
}

export function startSaving() {
  $("save").addEventListener("click", savePicture);
  $("copy").addEventListener("click", showCommand);
  $("command-again").addEventListener("click", async () => {
    if (await toClipboard($("command").value)) $("command-note").textContent = "Copied.";
  });
  $("keep-pack").addEventListener("click", offerPack);
  $("pack-save").addEventListener("click", savePack);
}
