// Small helpers: elements by id, new elements (text is always text), short notes, errors in words.

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role") made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

let fading = 0;

export function toast(words, ...more) {
  const place = $("toast");
  place.replaceChildren(make("span", { textContent: words }), ...more);
  place.classList.add("there");
  clearTimeout(fading);
  fading = setTimeout(() => place.classList.remove("there"), more.length ? 12000 : 5000);
}

export function complain(id, error) {
  const place = $(id);
  place.textContent = error ? error.message || String(error) : "";
  place.hidden = !error;
}

export const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// A name that a pack can have, from a file's name.
export const packName = (text) =>
  text.replace(/\.[^.]*$/, "").toLowerCase().replace(/[^a-z0-9_]+/g, "-").replace(/^[-_]+|[-_]+$/g, "").slice(0, 64);
