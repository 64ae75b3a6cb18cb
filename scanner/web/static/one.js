// One by one: three panels, a grade by one key, and the next object is there already.
import { Cutout, VIEW, draw } from "./cutout.js";
import { post, say } from "./page.js";
import { flush, send, uuid } from "./outbox.js";

const data = JSON.parse(document.getElementById("data").textContent);
if (data.numbers.length) {
  const byId = (id) => document.getElementById(id);
  const kept = JSON.parse(localStorage.getItem("one view") || "{}");
  const view = { ...VIEW, plane: data.bands[Math.min(1, data.bands.length - 1)], ...kept };
  if (!["colour", ...data.bands].includes(view.plane)) view.plane = data.bands[0];
  const cutouts = new Map();
  let at = data.at, began = performance.now();

  const cutout = (place) => {
    const number = data.numbers[place];
    if (number === undefined) return Promise.resolve(null);
    if (!cutouts.has(number)) {
      const asked = fetch(`/hunt/${data.round}/windows/${number}`).then(async (answer) => {
        if (!answer.ok) throw new Error((await answer.json()).message);
        const state = answer.headers.get("Scanner-States");
        if (state !== "1") {
          cutouts.delete(number);
          return null;
        }
        return Cutout.unpack(await answer.arrayBuffer(), data.bands, data.window, data.pixel_scale);
      });
      asked.catch(() => cutouts.delete(number));
      cutouts.set(number, asked);
    }
    return cutouts.get(number);
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
        if (wide.classList.contains("none")) wide.querySelector("img").src = `/hunt/${data.round}/wide/${data.numbers[place]}`;
      } else if (data.objects[place].state === 0) {
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
    at = Math.min(Math.max(place, 0), data.numbers.length - 1);
    began = performance.now();
    const object = data.objects[at];
    history.replaceState(null, "", `?${new URLSearchParams({ at, seed: data.seed, of: data.of })}`);
    byId("place").textContent = at + 1;
    const graded = data.objects.filter((one) => one.grade).length;
    byId("graded").textContent = `${graded} graded`;
    byId("progress").value = graded;
    for (const button of document.querySelectorAll("[data-grade]")) button.setAttribute("aria-pressed", String(button.dataset.grade === object.grade));
    for (const button of document.querySelectorAll("[data-class]")) button.setAttribute("aria-pressed", String(button.dataset.class === object.class));
    byId("comment").value = object.comment;
    facts(object);
    byId("wide").querySelector("img").src = `/hunt/${data.round}/wide/${object.number}`;
    paint();
    for (const ahead of [1, 2, 3]) {
      cutout(at + ahead).catch(() => {});
      if (data.objects[at + ahead]) new Image().src = `/hunt/${data.round}/wide/${data.objects[at + ahead].number}`;
    }
  }

  function facts({ row, triage }) {
    const { ra, dec } = row, place = `${ra.toFixed(6)} ${dec >= 0 ? "+" : ""}${dec.toFixed(6)}`;
    const list = document.createElement("dl");
    const add = (name, value) => {
      const term = document.createElement("dt"), detail = document.createElement("dd");
      term.textContent = name;
      detail.append(value);
      list.append(term, detail);
    };
    add("position", place);
    add("object", row.object_id);
    if (triage) add("triage", triage);
    for (const name of ["known_as", "score", "score_lens", "probability", "similarity"]) {
      if (row[name]) add(name.replace("_", " "), typeof row[name] === "number" ? row[name].toFixed(3) : row[name]);
    }
    for (const name of ["mag_auto", ...data.bands.map((band) => `mag_${band}`)]) {
      if (typeof row[name] === "number") add(name, row[name].toFixed(2));
    }
    for (const name of ["flux_radius", "snr", "flags", "bands_present", "valid_fraction"]) {
      const value = row[name];
      if (value !== undefined && value !== null) add(name, typeof value === "number" && !Number.isInteger(value) ? value.toFixed(2) : String(value));
    }
    const links = document.createElement("p");
    links.className = "links";
    const target = `${ra.toFixed(6)}%20${dec.toFixed(6)}`;
    for (const [name, url] of [
      ["ESASky", `https://sky.esa.int/esasky/?target=${target}&fov=0.02&cooframe=J2000&sci=true`],
      ["Legacy", `https://www.legacysurvey.org/viewer?ra=${ra.toFixed(6)}&dec=${dec.toFixed(6)}&layer=ls-dr10&zoom=16`],
      ["SIMBAD", `https://simbad.cds.unistra.fr/simbad/sim-coo?Coord=${target}&Radius=5&Radius.unit=arcsec`],
    ]) {
      const link = document.createElement("a");
      Object.assign(link, { href: url, target: "_blank", rel: "noreferrer noopener", className: "button", textContent: `${name} ↗` });
      links.append(link);
    }
    byId("facts").replaceChildren(list, links);
  }

  function judge(grade, kind = "") {
    const object = data.objects[at];
    Object.assign(object, { grade, class: kind, comment: byId("comment").value });
    send(`/hunt/${data.round}/verdicts`, {
      verdicts: [{
        number: object.number, grade, class: kind, comment: object.comment,
        seconds: Number(((performance.now() - began) / 1000).toFixed(2)), place: at,
      }],
      view: "one", stretch: `${view.plane} ${view.stretch} ${view.gain}${view.residual ? " residual" : ""}`, seed: data.seed,
    });
    if (byId("auto").checked && at + 1 < data.numbers.length) show(at + 1);
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
    const done = await post("/hunt/undo", { batch: uuid() }).catch((error) => say(error.message));
    if (!done) return;
    if (!done.withdrawn) return say("There is nothing to undo.");
    const place = data.objects.findIndex((one) => done.object_ids.includes(one.row.object_id));
    location = `?${new URLSearchParams({ at: place < 0 ? at : place, seed: data.seed, of: data.of })}`;
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
}
