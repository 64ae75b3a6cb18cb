// The part of a page that depends on what was chosen: it is taken from the page of the address, and the rest stays.
export async function loadPart(id) {
  const at = location.href, answer = await fetch(at, { headers: { Accept: "text/html" } });
  const read = new DOMParser().parseFromString(await answer.text(), "text/html");
  // Another choice may have been made meanwhile.
  if (location.href !== at) return null;
  const part = read.getElementById(id);
  if (!part) throw new Error(read.querySelector(".failure h1")?.textContent ?? "The server did not answer.");
  document.getElementById(id).replaceWith(part);
  return read;
}
