// What every page has: the theme, popovers that close, and the token of requests that change state.
export const token = document.querySelector('meta[name="scanner-token"]').content;

export function say(words) {
  document.getElementById("status").textContent = words;
}

export async function post(address, body) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Scanner-Token": token },
    body: JSON.stringify(body),
  }).catch(() => { throw new Error("The server does not answer."); });
  const told = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(told.message || "The server refused this."), { status: answer.status, hint: told.hint });
  return told;
}

export const uuid = () => ([1e7] + -1e3 + -4e3 + -8e3 + -1e11).replace(/[018]/g, (c) =>
  (c ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (c / 4)))).toString(16));

const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : !matchMedia("(prefers-color-scheme: light)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-Scanner-Token"] = token;
});

for (const details of document.querySelectorAll("details.popover")) {
  document.addEventListener("click", (event) => {
    if (!details.contains(event.target)) details.open = false;
  });
  details.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      details.open = false;
      details.querySelector("summary").focus();
    }
  });
}

// A selection goes by SAMP to the programs beside the server.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-broadcast]");
  if (!button) return;
  button.disabled = true;
  say("Sending …");
  try {
    const sent = await post(button.dataset.broadcast, JSON.parse(button.dataset.body));
    say(sent.receivers.map((one) => `${one.name}: ${one.problem || `${sent.rows} rows`}`).join(" · "));
  } catch (error) {
    say([error.message, error.hint].filter(Boolean).join(" "));
  }
  button.disabled = false;
});

// A cutout without pixels must not look like a broken page.
document.addEventListener("error", (event) => {
  if (event.target.matches?.("img.stamp")) event.target.classList.add("failed");
}, true);
