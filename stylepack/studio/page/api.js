// Requests to the server that this page came from; addresses are relative, so they have its token.

async function answer(response) {
  if (response.ok) return response;
  let words = `the studio answered ${response.status}`;
  try {
    words = (await response.json()).error || words;
  } catch {
    // no words
  }
  throw new Error(words);
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The studio has ended. Start it again and reload this page.");
  }
  return answer(response);
}

const query = (fields) => new URLSearchParams(fields).toString();

export const getJson = async (path, fields = {}) => (await ask(`${path}?${query(fields)}`)).json();

export const getBlob = async (path, fields = {}, signal = undefined) =>
  (await ask(`${path}?${query(fields)}`, { signal })).blob();

export const post = (path, fields, body, options = {}) =>
  ask(`${path}?${query(fields)}`, { method: "POST", body, ...options });

export const postJson = async (path, fields, data) =>
  (await post(path, fields, JSON.stringify(data))).json();

export const sendFile = async (path, fields, file) =>
  (await post(path, fields, file, { headers: { "x-name": encodeURIComponent(file.name) } })).json();
