// Files that are dropped on the page or chosen: a photograph to paint, a painting to learn.

import { sendFile } from "./api.js";
import { $, complain, toast } from "./dom.js";
import { offerToLearn } from "./learn.js";
import { commitLook, emit, state } from "./state.js";

export async function openPhoto(file) {
  complain("stage-error", null);
  $("stage").setAttribute("aria-busy", "true");
  toast(`Reading ${file.name}`);
  try {
    state.photo = await sendFile("photo", {}, file);
    // Masks belong to the last photograph.
    state.look.regions = [];
    Object.assign(state.look, { mask: "", limited: false });
    state.target = "all";
    for (const kind of ["target", "photo", "look"]) emit(kind);
    commitLook();
    toast("");
  } catch (error) {
    complain("stage-error", error);
    toast("");
  }
  $("stage").removeAttribute("aria-busy");
}

export function startDropping() {
  const cover = $("drop");
  const carriesFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  addEventListener("dragenter", (event) => {
    if (carriesFiles(event)) cover.hidden = false;
  });
  addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    for (const half of cover.children) half.classList.toggle("over", half.contains(event.target));
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) cover.hidden = true;
  });
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    cover.hidden = true;
    const [file] = event.dataTransfer.files;
    if (!file) return;
    if (event.target.closest?.("[data-drop=style]")) offerToLearn(file);
    else openPhoto(file);
  });
  for (const id of ["open-photo", "choose-photo"]) $(id).addEventListener("click", () => $("photo-file").click());
  $("photo-file").addEventListener("change", () => {
    const [file] = $("photo-file").files;
    $("photo-file").value = "";
    if (file) openPhoto(file);
  });
}
