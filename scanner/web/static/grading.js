// Grading one by one: three panels, a grade by one key, and the next object is there already.
import { Cutout, VIEW, draw } from "./cutout.js";
import { post, say, uuid } from "./page.js";
import { flush, send } from "./outbox.js";

const byId = (id) => document.getElementById(id);

// A list of terms; what is null or empty is left out.
export function list(facts) {
  const made = document.createElement("dl");
  for (const [name, value] of Object.entries(facts)) {
    if (value === null || value === undefined || value === "") continue;
    const term = document.createElement("dt"), detail = document.createElement("dd");
    term.textContent = name;
    detail.textContent = String(value);
    made.append(term, detail);
  }
  return made;
}

export function links(places) {
  const made = document.createElement("p");
  made.className = "links";
  for (const [name, url] of places) {
    const link = document.createElement("a");
    Object.assign(link, { href: url, target: "_blank", rel: "noreferrer noopener", className: "button", textContent: `${name} ↗` });
    made.append(link);
  }
  return made;
}

export const position = ({ ra, dec }) => `${ra.toFixed(6)} ${dec >= 0 ? "+" : ""}${dec.toFixed(6)}`;

// Runs the page of `data`, with at least one object. `source` says where its things are:
//   windows(object), wide(object)   addresses of the pixels and of the wide field
//   state(at)                       query of the page's address
//   describe(object)                shows what may be known of an object
//   verdicts(object, said, stretch) address and body that record what was said: grade, class, comment, seconds, place
//   undo, wasUndone(done, object)   address that takes back the last verdict, and whether it was about an object
// Returns what else a page needs: the object in view.
export function grade(data, source) {
  const kept = JSON.parse(localStorage.getItem("one view") || "{}");
  const view = { ...VIEW, plane: data.bands[Math.min(1, data.bands.length - 1)], ...kept };
  if (!["colour", ...data.bands].includes(view.plane)) view.plane = data.bands[0];
  const cutouts = new Map();
  let at = data.at, began = performance.now();

  // The pixels of an object: null where it has none, undefined while it is cut.
  const cutout = (place) => {
    const object = data.objects[place];
    if (!object) return Promise.resolve(null);
    if (!cutouts.has(object)) {
      const asked = fetch(source.windows(object)).then(async (answer) => {
        if (!answer.ok) throw new Error((await answer.json()).message);
        const state = answer.headers.get("Scanner-States");
        if (state !== "1") {
          cutouts.delete(object);
          return state === "0" ? undefined : null;
        }
        return Cutout.unpack(await answer.arrayBuffer(), data.bands, data.window, data.pixel_scale);
      });
      asked.catch(() => cutouts.delete(object));
      cutouts.set(object, asked);
    }
    return cutouts.get(object);
  };

  async function paint() {
    const place = at;
    try {
      const pixels = await cutout(place);
      if (place !== at) return;
      byId("colour").classList.toggle("none", !pixels);
      byId("band").classList.toggle("none", !pixels);
      if (pixels) {
        draw(byId("colour").querySelector("canvas"), pixels, { ...VIEW, stretch: view.stretch, gain: view.gain });
        draw(byId("band").querySelector("canvas"), pixels, view);
        const bar = byId("colour").querySelector(".scalebar");
        const arcsec = [1, 2, 5].findLast((one) => one < pixels.size * pixels.pixelScale * 0.3) ?? 1;
        bar.querySelector("i").style.width = `${(100 * arcsec) / (pixels.size * pixels.pixelScale)}cqw`;
        bar.querySelector("span").textContent = `${arcsec}″`;
        // The wide field is cut with the cutout: it is there now, though it was not when it was asked for.
        const wide = byId("wide");
        if (wide.classList.contains("none")) wide.querySelector("img").src = source.wide(data.objects[place]);
      } else if (pixels === undefined) {
        say("This cutout is still being cut.");
        setTimeout(() => { if (place === at) paint(); }, 1500);
      }
      byId("colour").dataset.drawn = `${place} ${view.plane} ${view.stretch} ${view.map} ${view.gain} ${view.residual}`;
    } catch (error) {
      say(error instanceof TypeError ? "The server does not answer." : error.message);
      setTimeout(() => { if (place === at) paint(); }, 1500);
    }
  }

  function controls() {
    localStorage.setItem("one view", JSON.stringify(view));
    for (const button of document.querySelectorAll("[data-plane]")) button.setAttribute("aria-pressed", String(button.dataset.plane === view.plane));
    document.querySelector("[data-residual]").setAttribute("aria-pressed", String(view.residual));
    for (const one of document.querySelectorAll("[data-view]")) one.value = view[one.dataset.view];
    byId("band-name").textContent = view.plane + (view.residual ? ", median ellipses subtracted" : "");
    paint();
  }

  function show(place) {
    at = Math.min(Math.max(place, 0), data.objects.length - 1);
    began = performance.now();
    const object = data.objects[at];
    history.replaceState(null, "", source.state(at));
    byId("place").textContent = at + 1;
    const graded = data.objects.filter((one) => one.grade).length;
    byId("graded").textContent = `${graded} graded`;
    byId("progress").value = graded;
    for (const button of document.querySelectorAll("[data-grade]")) button.setAttribute("aria-pressed", String(button.dataset.grade === object.grade));
    for (const button of document.querySelectorAll("[data-class]")) button.setAttribute("aria-pressed", String(button.dataset.class === object.class));
    byId("comment").value = object.comment;
    source.describe(object);
    byId("wide").querySelector("img").src = source.wide(object);
    paint();
    for (const ahead of [1, 2, 3]) {
      cutout(at + ahead).catch(() => {});
      if (data.objects[at + ahead]) new Image().src = source.wide(data.objects[at + ahead]);
    }
  }

  function judge(grade, kind = "") {
    const object = data.objects[at];
    Object.assign(object, { grade, class: kind, comment: byId("comment").value });
    const seconds = Number(((performance.now() - began) / 1000).toFixed(2));
    const said = { grade, class: kind, comment: object.comment, seconds, place: at };
    send(...source.verdicts(object, said, `${view.plane} ${view.stretch} ${view.gain}${view.residual ? " residual" : ""}`));
    if (byId("auto").checked && at + 1 < data.objects.length) show(at + 1);
    else show(at);
  }

  const ungraded = () => {
    const order = [...data.objects.keys()];
    const next = [...order.slice(at + 1), ...order.slice(0, at + 1)].find((place) => !data.objects[place].grade);
    if (next === undefined) say("All objects are graded.");
    else show(next);
  };

  async function undo() {
    await flush();
    const done = await post(source.undo, { batch: uuid() }).catch((error) => say(error.message));
    if (!done) return;
    if (!done.withdrawn) return say("There is nothing to undo.");
    const place = data.objects.findIndex((one) => source.wasUndone(done, one));
    location = source.state(place < 0 ? at : place);
  }

  for (const button of document.querySelectorAll("[data-grade]")) button.addEventListener("click", () => judge(button.dataset.grade));
  for (const button of document.querySelectorAll("[data-class]")) {
    button.addEventListener("click", () => judge(data.classes.find((one) => one.name === button.dataset.class).grade, button.dataset.class));
  }
  for (const button of document.querySelectorAll("[data-plane]")) button.addEventListener("click", () => { view.plane = button.dataset.plane; controls(); });
  const residual = () => { view.residual = !view.residual; controls(); };
  document.querySelector("[data-residual]").addEventListener("click", residual);
  for (const one of document.querySelectorAll("[data-view]")) {
    one.addEventListener("input", () => { view[one.dataset.view] = one.type === "range" ? Number(one.value) : one.value; controls(); });
  }
  byId("before").addEventListener("click", () => show(at - 1));
  byId("after").addEventListener("click", () => show(at + 1));
  byId("next").addEventListener("click", ungraded);
  byId("undo").addEventListener("click", undo);
  byId("comment").addEventListener("change", () => {
    // A comment alone is a verdict of the same grade; before the first grade it waits for it.
    const object = data.objects[at];
    if (object.grade) {
      const auto = byId("auto").checked;
      byId("auto").checked = false;
      judge(object.grade, object.class);
      byId("auto").checked = auto;
    }
  });
  byId("wide").querySelector("img").addEventListener("error", () => byId("wide").classList.add("none"));
  byId("wide").querySelector("img").addEventListener("load", () => byId("wide").classList.remove("none"));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("textarea")) {
      if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) {
        event.preventDefault();
        event.target.blur();
      }
      return;
    }
    if (event.target.matches("select, input[type=range]") && event.key.startsWith("Arrow")) return;
    const key = event.key.toLowerCase();
    const grade = data.grades.find((one) => one.key === key), kind = data.classes.find((one) => one.key === key);
    if (grade) judge(grade.name);
    else if (kind) judge(kind.grade, kind.name);
    else if (event.key === "ArrowRight") show(at + 1);
    else if (event.key === "ArrowLeft") show(at - 1);
    else if (key === "n") ungraded();
    else if (key === "u") undo();
    else if (key === "c") byId("comment").focus();
    else if (key === "v") residual();
    else if (key === "t" || key === "b") {
      const names = key === "t" ? ["asinh", "sqrt", "log", "linear"] : [...data.bands, "colour"];
      const field = key === "t" ? "stretch" : "plane";
      view[field] = names[(names.indexOf(view[field]) + 1) % names.length];
      controls();
    } else if (key === "+" || key === "=") { view.gain = Math.min(view.gain + 0.5, 3); controls(); }
    else if (key === "-") { view.gain = Math.max(view.gain - 0.5, -3); controls(); }
    else return;
    event.preventDefault();
  });

  controls();
  show(at);
  return { inView: () => data.objects[at] };
}
