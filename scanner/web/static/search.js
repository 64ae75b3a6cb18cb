// The search page: what fits the column of a filter, the order, the size of the cutouts, and arrow keys in the grid.
import { post, say, token } from "./page.js";

const root = document.documentElement;

const inspect = document.getElementById("inspect");
inspect?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(inspect);
  try {
    const made = await post("/hunt/rounds", {
      question: JSON.parse(inspect.dataset.question), count: Number(form.get("count")), title: form.get("title"),
    });
    location = made.at;
  } catch (error) {
    say(error.message);
  }
});
// Without this script the form would go nowhere, so its button waits for it.
inspect?.querySelector("button").toggleAttribute("disabled", false);

const upload = document.getElementById("upload");
upload.addEventListener("change", async () => {
  if (!upload.files.length) return;
  say(`Reading ${upload.files[0].name} …`);
  const body = new FormData();
  body.append("file", upload.files[0]);
  const answer = await fetch("/upload", { method: "POST", headers: { "X-Scanner-Token": token }, body }).catch(() => null);
  if (!answer) return say("The server does not answer.");
  const told = await answer.json();
  if (answer.ok) location = told.at;
  else say(`${told.message} ${told.hint}`);
});

const column = document.getElementById("column");
function fit() {
  const kind = column.selectedOptions[0].dataset.kind;
  const isText = kind === "string" || kind === "bool";
  for (const label of column.form.querySelectorAll("[data-for]")) label.hidden = (label.dataset.for === "text") !== isText;
}
column.addEventListener("change", fit);
fit();

for (const select of document.querySelectorAll("select[data-submits]")) select.addEventListener("change", () => select.form.submit());

const sizes = [...document.querySelectorAll("[data-size]")].filter((one) => one !== root);
function choose(size) {
  root.dataset.size = size;
  localStorage.setItem("size", size);
  for (const button of sizes) button.setAttribute("aria-pressed", String(button.dataset.size === size));
}
for (const button of sizes) button.addEventListener("click", () => choose(button.dataset.size));
choose(root.dataset.size);

const grid = document.getElementById("grid");
grid?.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 0, ArrowUp: 0 }[event.key];
  if (step === undefined) return;
  const shots = [...grid.querySelectorAll(".shot")];
  const here = shots.indexOf(document.activeElement.closest(".card")?.querySelector(".shot"));
  if (here < 0) return;
  const across = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const next = shots[here + (step || (event.key === "ArrowDown" ? across : -across))];
  if (next) {
    next.focus();
    event.preventDefault();
  }
});
