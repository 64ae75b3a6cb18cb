// The mosaic: mark what stands out, turn the page, and all others are the word that the scheme gives to the rest.
import { Cutout, VIEW, chooseStretch, draw } from "./cutout.js";
import { post, say, uuid } from "./page.js";
import { flush, send } from "./outbox.js";

const data = JSON.parse(document.getElementById("data").textContent);
const grid = document.getElementById("mosaic"), tally = document.getElementById("tally");
const rest = data.triage.find((word) => word.rest).name;
const words = data.triage.filter((word) => !word.rest).map((word) => word.name);
const began = performance.now();
const kept = JSON.parse(localStorage.getItem("mosaic view") || "{}");
const view = { ...VIEW, ...kept, residual: false, map: "grey" };
if (!["colour", ...data.bands].includes(view.plane)) view.plane = "colour";

const across = Math.min(10, data.objects.length);
grid.style.setProperty("--across", innerWidth < 720 ? Math.min(4, across) : across);
const tiles = data.objects.map((object, at) => {
  const tile = document.createElement("button");
  tile.type = "button";
  tile.className = "tile";
  tile.tabIndex = at ? -1 : 0;
  tile.append(document.createElement("canvas"), document.createElement("span"));
  grid.append(tile);
  return tile;
});

function mark(at, word) {
  const object = data.objects[at];
  object.triage = word;
  tiles[at].dataset.mark = word === rest ? "rest" : word ? String(words.indexOf(word)) : "";
  tiles[at].setAttribute("aria-pressed", String(words.includes(word)));
  const caption = [word, `${object.row.mag_auto?.toFixed(1) ?? "–"} mag`].filter(Boolean).join(" · ");
  tiles[at].querySelector("span").textContent = caption;
  tiles[at].setAttribute("aria-label", `Object ${at + 1}: ${caption}`);
  const counts = words.map((one) => [data.objects.filter((each) => each.triage === one).length, one]);
  tally.textContent = counts.map(([count, one]) => `${count} ${one}`).join(", ");
}
data.objects.forEach((object, at) => mark(at, object.triage));

// A mark is sent at once, so that a window that is closed loses none.
function choose(at, word) {
  const chosen = data.objects[at].triage === word ? rest : word;
  mark(at, chosen);
  save([at]);
}

const place = (at) => (data.page - 1) * data.size + at;
function save(places, others = false) {
  const seconds = (performance.now() - began) / 1000 / Math.max(data.objects.length, 1);
  return send(`/hunt/${data.round}/verdicts`, {
    verdicts: places.map((at) => ({
      number: data.objects[at].number, grade: data.objects[at].triage, seconds: Number(seconds.toFixed(2)), place: place(at),
    })),
    others, view: "mosaic", stretch: `${view.plane} ${view.stretch} ${view.gain}`, seed: data.seed,
  });
}

function go(page) {
  location = `/hunt/${data.round}/mosaic?page=${page}&size=${data.size}&seed=${data.seed}`;
}
let turning = false;
async function turn() {
  if (turning) return;
  turning = true;
  const others = data.objects.map((object, at) => (object.triage ? -1 : at)).filter((at) => at >= 0);
  others.forEach((at) => mark(at, rest));
  // Another window may have judged some of them meanwhile: the server leaves those out.
  if (others.length) await save(others, true);
  await flush();
  if (data.page < data.pages) go(data.page + 1);
  else location = "/hunt";
}

async function undo() {
  await flush();
  const done = await post("/hunt/undo", { batch: uuid() }).catch((error) => say(error.message));
  if (!done) return;
  if (!done.withdrawn) return say("There is nothing to undo.");
  const page = Math.floor(done.place / data.size) + 1;
  if (done.view === "mosaic" && done.round === data.round && done.seed === data.seed && page !== data.page) go(page);
  else location.reload();
}

let here = 0;
function focus(at) {
  if (at < 0 || at >= tiles.length) return;
  tiles[here].tabIndex = -1;
  here = at;
  tiles[here].tabIndex = 0;
  tiles[here].focus();
}

grid.addEventListener("click", (event) => {
  const at = tiles.indexOf(event.target.closest(".tile"));
  if (at < 0 || event.detail === 0) return;
  focus(at);
  choose(at, event.shiftKey ? words[1] ?? words[0] : words[0]);
});

// A long press, where there is no Shift, and a right click.
grid.addEventListener("contextmenu", (event) => {
  const at = tiles.indexOf(event.target.closest(".tile"));
  if (at < 0) return;
  event.preventDefault();
  focus(at);
  choose(at, words[1] ?? words[0]);
});

const gain = document.getElementById("gain"), stretch = document.getElementById("stretch");
const planes = [...document.querySelectorAll("[data-plane]")];
function show() {
  localStorage.setItem("mosaic view", JSON.stringify(view));
  gain.value = view.gain;
  stretch.value = view.stretch;
  for (const button of planes) button.setAttribute("aria-pressed", String(button.dataset.plane === view.plane));
  paint();
}
gain.addEventListener("input", () => { view.gain = Number(gain.value); show(); });
stretch.addEventListener("input", () => { view.stretch = stretch.value; show(); });
for (const button of planes) button.addEventListener("click", () => { view.plane = button.dataset.plane; show(); });
document.getElementById("turn").addEventListener("click", turn);
document.getElementById("undo").addEventListener("click", undo);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const onTile = event.target.closest?.(".tile") || event.target === document.body || event.target.id === "main";
  const columns = Number(getComputedStyle(grid).getPropertyValue("--across"));
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  const word = data.triage.find((one) => one.key === event.key.toLowerCase());
  if (step) focus(here + step);
  else if (word && (onTile || event.key !== " ")) {
    focus(here);
    if (word.rest) { mark(here, rest); save([here]); } else choose(here, word.name);
  } else if ((event.key === "Enter" && onTile) || event.key === "PageDown") turn();
  else if (event.key === "Backspace" || event.key === "PageUp") { if (data.page > 1) go(data.page - 1); }
  else if (event.key === "u") undo();
  else if (event.key === "+" || event.key === "=") { view.gain = Math.min(view.gain + 0.5, 3); show(); }
  else if (event.key === "-") { view.gain = Math.max(view.gain - 0.5, -3); show(); }
  else if (event.key === "b") { view.plane = planes[(planes.findIndex((one) => one.dataset.plane === view.plane) + 1) % planes.length].dataset.plane; show(); }
  else if (event.key === "t") { view.stretch = stretch.options[(stretch.selectedIndex + 1) % stretch.options.length].value; show(); }
  else return;
  event.preventDefault();
});

let cutouts = [];
const stretches = {};
function paint() {
  const there = cutouts.filter(Boolean);
  // One stretch for the page, chosen once for each band.
  if (there.length) stretches[view.plane] ??= chooseStretch(there, view.plane);
  cutouts.forEach((cutout, at) => { if (cutout) draw(tiles[at].querySelector("canvas"), cutout, view, stretches[view.plane]); });
  grid.dataset.drawn = `${cutouts.filter(Boolean).length} ${view.plane} ${view.stretch} ${view.gain}`;
}

// While some are being cut, only their states are asked for.
let states = "";
async function load() {
  const answer = await fetch(data.windows, states ? { method: "HEAD" } : {}).catch(() => null);
  if (!answer) {
    say("The server does not answer.");
    setTimeout(load, 2000);
    return;
  }
  if (!answer.ok) return say("The cutouts of this page cannot be read.");
  const now = answer.headers.get("Scanner-States");
  const waiting = [...now].filter((state) => state === "0").length;
  if (states && now !== states) {
    states = "";
    return load();
  }
  if (!states) {
    states = now;
    const buffer = await answer.arrayBuffer();
    const record = 4 * data.bands.length + 2 * data.bands.length * data.window ** 2;
    cutouts = tiles.map((tile, at) => {
      tile.dataset.state = states[at];
      return states[at] === "1" ? Cutout.unpack(buffer, data.bands, data.window, data.pixel_scale, at * record) : null;
    });
    for (const plane of Object.keys(stretches)) delete stretches[plane];
    show();
  }
  if (waiting) {
    say(`${waiting} of ${tiles.length} cutouts of this page are still being cut.`);
    setTimeout(load, 2000);
  } else {
    say("");
    // The next page is in the browser's cache when it is turned to.
    if (data.next) fetch(data.next).catch(() => {});
  }
}
load();
focus(0);
