// The map: moved, zoomed and drawn here, from points that came once. The server resolves a lasso over all objects.
import { makePainter, paint } from "./points.js";
import { post, say } from "./page.js";
import { loadPart } from "./part.js";

const STAMP = 64, MOST_STAMPS = 60, MOST_NEAR = 400, DEEPEST = 1e4, SETTLED = 250;
const source = document.getElementById("data");
if (source) start(JSON.parse(source.textContent));

function start(data) {
  const find = (id) => document.getElementById(id);
  const plane = find("plane"), lasso = find("lasso"), form = find("view"), tip = find("tip");
  const width = (box) => box[2] - box[0];
  const wholeWidth = width(data.whole);
  let view = [...data.box], outline = [...data.lasso], choosing = false;
  // All objects, or a sample of them; and where that is not all, more of them around what is shown.
  let base = null, detail = null, shown = null, wanted = "";

  const painter = makePainter("points", () => redraw());
  const toMap = ({ clientX, clientY }) => {
    const { left, top, width: w, height: h } = plane.getBoundingClientRect();
    return [view[0] + ((clientX - left) / w) * width(view), view[3] - ((clientY - top) / h) * (view[3] - view[1])];
  };
  const toPlane = (x, y) => [(x - view[0]) / width(view), (view[3] - y) / (view[3] - view[1])];
  const holds = (outer, inner) => outer[0] <= inner[0] && outer[1] <= inner[1] && outer[2] >= inner[2] && outer[3] >= inner[3];
  const short = (values) => values.map((value) => Number(value.toPrecision(7))).join(",");

  // Drawing

  let frame = 0;
  const redraw = () => { frame ||= requestAnimationFrame(() => { frame = 0; draw(); }); };

  function draw() {
    const zoom = Math.log2(wholeWidth / width(view));
    place(find("density"), data.whole, 1 - Math.max(zoom, 0) / 4);
    if (detail) place(find("detail"), detail.box, holds(detail.box, view) ? 0.9 : 0);
    const layer = detail && holds(detail.box, view) ? detail : base;
    if (layer && layer !== shown) painter.load(shown = layer);
    if (layer) {
      const usual = layer.count > 50_000 ? 0.9 : layer.count > 10_000 ? 1.3 : layer.count > 1500 ? 2 : 3;
      // Where the image tells how many there are, points must not cover it; close by they are all that there is.
      const faint = layer.count <= 10_000 ? 0.85 : data.scale ? 0.55 : 0.1;
      const strength = Math.min(faint + 0.2 * Math.max(zoom, 0), 1);
      painter.draw(view, Math.min(usual * 2 ** (0.3 * Math.max(zoom, 0)), 5), strength);
    }
    for (const one of find("near").children) move(one, ...one.place);
    const corners = [];
    for (let at = 0; at < outline.length; at += 2) corners.push(toPlane(outline[at], outline[at + 1]).join(","));
    lasso.setAttribute("points", corners.join(" "));
  }

  function place(image, box, opacity) {
    const [left, top] = toPlane(box[0], box[3]), scale = width(box) / width(view);
    image.style.transform = `translate(${100 * left}%, ${100 * top}%) scale(${scale})`;
    image.style.opacity = Math.max(Math.min(opacity, 1), 0);
  }

  function move(one, x, y) {
    const [left, top] = toPlane(x, y);
    one.style.left = `${100 * left}%`;
    one.style.top = `${100 * top}%`;
  }

  // What the server gives: points once, and more of them where a part of a larger map is shown

  const address = (path, changes = {}) => {
    const given = { ...Object.fromEntries(new FormData(form)), ...changes };
    const query = new URLSearchParams(Object.entries(given).filter(([, value]) => value));
    return query.size ? `${path}?${query}` : path;
  };

  async function loadLayer(box) {
    const answer = await fetch(address("/map/points", { box: box ? short(box) : "", lasso: "" }));
    if (!answer.ok) throw new Error((await answer.json()).message);
    const count = Number(answer.headers.get("Scanner-Points")), body = await answer.arrayBuffer();
    const column = (number) => new Float32Array(body, 8 * count + 4 * count * number, count);
    const value = data.scale ? column(2) : null;
    return {
      box: box ?? data.whole, count, ids: new BigInt64Array(body, 0, count), x: column(0), y: column(1), value,
      colour: paint(count, value, data.scale, data.stops, data.named),
      complete: count === Number(answer.headers.get("Scanner-Objects")),
    };
  }

  async function loadDetail() {
    const deep = width(view) < wholeWidth / 2;
    if (!base || base.complete || !deep) return;
    if (detail && holds(detail.box, view) && (detail.complete || width(detail.box) < 8 * width(view))) return;
    const w = width(view), h = view[3] - view[1];
    const box = [view[0] - w, view[1] - h, view[2] + w, view[3] + h], key = wanted = short(box);
    const picture = new Image();
    picture.src = address("/map/picture", { box: key, lasso: "" });
    const [layer] = await Promise.all([loadLayer(box), picture.decode()]);
    // A later wish may have been granted before.
    if (key !== wanted) return;
    detail = layer;
    find("detail").src = picture.src;
    redraw();
    showStamps();
  }

  let timer;
  const settle = () => {
    redraw();
    clearTimeout(timer);
    timer = setTimeout(() => {
      const box = holds(view, data.whole) ? "" : short(view);
      if (form.elements.box.value !== box) {
        form.elements.box.value = box;
        history.replaceState(null, "", address("/map"));
      }
      showStamps();
      loadDetail().catch((error) => say(error.message));
    }, SETTLED);
  };

  // Cutouts of what is close, where there is room for them

  function showStamps() {
    const layer = shown, near = find("near"), inView = [];
    const there = new Map([...near.children].map((one) => [one.dataset.id, one]));
    for (let at = 0; layer?.complete && data.has_images && at < layer.count && inView.length <= MOST_NEAR; at++) {
      if (layer.x[at] >= view[0] && layer.x[at] <= view[2] && layer.y[at] >= view[1] && layer.y[at] <= view[3]) inView.push(at);
    }
    const placed = [], kept = [];
    for (const at of inView.length <= MOST_NEAR ? inView : []) {
      const [x, y] = toPlane(layer.x[at], layer.y[at]).map((part) => part * plane.clientWidth);
      if (placed.length >= MOST_STAMPS || placed.some(([a, b]) => Math.abs(a - x) < STAMP && Math.abs(b - y) < STAMP)) continue;
      placed.push([x, y]);
      kept.push(there.get(String(layer.ids[at])) ?? makeStamp(String(layer.ids[at]), layer.x[at], layer.y[at]));
    }
    near.replaceChildren(...kept);
    for (const one of kept) move(one, ...one.place);
    plane.dataset.settled = `${kept.length} ${short(view)}`;
  }

  function makeStamp(id, x, y) {
    const link = document.createElement("a"), picture = document.createElement("img");
    link.href = `/objects/${id}`;
    link.dataset.id = id;
    link.title = picture.alt = `Object ${id}`;
    picture.src = `/map/cutouts/${id}`;
    picture.className = "stamp";
    picture.draggable = false;
    link.append(picture);
    link.place = [x, y];
    return link;
  }

  // The object under the pointer

  function pick(event) {
    if (!shown || event.target.closest?.("#near a")) return -1;
    const [x, y] = toMap(event);
    let best = -1, least = ((event.pointerType === "touch" ? 18 : 9) / plane.clientWidth * width(view)) ** 2;
    for (let at = 0; at < shown.count; at++) {
      const away = (shown.x[at] - x) ** 2 + (shown.y[at] - y) ** 2;
      if (away < least) [best, least] = [at, away];
    }
    return best;
  }

  function describe(event) {
    const at = pick(event);
    tip.hidden = at < 0;
    if (at < 0) return;
    const number = shown.value?.[at], names = data.scale?.names ?? [];
    const value = names.length ? names[number] : Number.isFinite(number) ? Number(number.toPrecision(5)) : "unknown";
    tip.textContent = data.scale ? `${data.scale.column} ${value} ${data.scale.unit}`.trim() : `object ${shown.ids[at]}`;
    move(tip, shown.x[at], shown.y[at]);
  }

  // Moving and zooming

  function zoomTo(factor, [x, y] = [(view[0] + view[2]) / 2, (view[1] + view[3]) / 2]) {
    const to = Math.min(Math.max(width(view) * factor, wholeWidth / DEEPEST), wholeWidth * 2) / width(view);
    view = [x + (view[0] - x) * to, y + (view[1] - y) * to, x + (view[2] - x) * to, y + (view[3] - y) * to];
    settle();
  }
  const shift = (dx, dy) => { view = [view[0] + dx, view[1] + dy, view[2] + dx, view[3] + dy]; settle(); };
  const showWhole = () => { view = [...data.whole]; settle(); };

  plane.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomTo(2 ** (Math.max(-240, Math.min(event.deltaY, 240)) / 400), toMap(event));
  }, { passive: false });

  const fingers = new Map();
  let corners = null, travelled = 0;
  plane.addEventListener("pointerdown", (event) => {
    if (event.target.closest("#near a") || event.button) return;
    plane.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    travelled = 0;
    tip.hidden = true;
    if (fingers.size > 1) corners = null;
    else if (choosing || event.shiftKey) corners = toMap(event);
  });
  plane.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return describe(event);
    travelled += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
    if (corners) {
      corners.push(...toMap(event));
      outline = corners;
    } else {
      const [x, y] = toMap(before), others = [...fingers.values()].filter((one) => one !== before);
      const from = others[0] && Math.hypot(before.clientX - others[0].clientX, before.clientY - others[0].clientY);
      const to = others[0] && Math.hypot(event.clientX - others[0].clientX, event.clientY - others[0].clientY);
      if (others[0] && from && to) zoomTo(from / to, toMap(others[0]));
      else {
        const [a, b] = toMap(event);
        shift(x - a, y - b);
      }
    }
    fingers.set(event.pointerId, event);
    redraw();
  });
  const release = (event) => {
    const pressed = fingers.delete(event.pointerId);
    // An outline of some 100 corners is enough, and fits in an address.
    const step = corners ? Math.max(1, Math.ceil(corners.length / 200)) : 1;
    if (corners && corners.length >= 6 && event.type === "pointerup") choose(corners.filter((_, at) => Math.floor(at / 2) % step === 0));
    else if (corners) choose([...data.lasso], false);
    else if (pressed && travelled < 4 && event.type === "pointerup" && pick(event) >= 0) location = `/objects/${shown.ids[pick(event)]}`;
    corners = null;
  };
  plane.addEventListener("pointerup", release);
  plane.addEventListener("pointercancel", release);
  plane.addEventListener("pointerleave", () => { tip.hidden = true; });

  const keys = {
    ArrowLeft: () => shift(-width(view) / 5, 0), ArrowRight: () => shift(width(view) / 5, 0),
    ArrowUp: () => shift(0, (view[3] - view[1]) / 5), ArrowDown: () => shift(0, (view[1] - view[3]) / 5),
    "+": () => zoomTo(0.6), "=": () => zoomTo(0.6), "-": () => zoomTo(1 / 0.6), 0: showWhole,
    a: () => choose([view[0], view[1], view[2], view[1], view[2], view[3], view[0], view[3]]),
    Escape: () => choose([]),
  };
  plane.addEventListener("keydown", (event) => {
    const act = event.target === plane && !event.ctrlKey && !event.metaKey && !event.altKey && keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  find("in").addEventListener("click", () => zoomTo(0.5));
  find("out").addEventListener("click", () => zoomTo(2));
  find("whole").addEventListener("click", showWhole);
  for (const button of document.querySelectorAll("[data-drag]")) {
    button.addEventListener("click", () => {
      choosing = button.dataset.drag === "choose";
      plane.classList.toggle("choosing", choosing);
      for (const one of document.querySelectorAll("[data-drag]")) one.setAttribute("aria-pressed", String(one === button));
    });
  }

  // What is chosen: an address of its own, and the part of its page that lists the objects

  function choose(polygon, asks = true) {
    outline = data.lasso = polygon.map((value) => Number(value.toPrecision(7)));
    redraw();
    if (!asks) return;
    form.elements.lasso.value = outline.join(",");
    form.elements.box.value = holds(view, data.whole) ? "" : short(view);
    history.pushState(null, "", address("/map"));
    list();
  }

  const list = () => loadPart("answer").catch((error) => say(error.message));

  addEventListener("popstate", () => {
    const given = new URLSearchParams(location.search);
    if (["name", "colour", "where"].some((one) => (given.get(one) ?? "") !== form.elements[one].value && given.has(one))) return location.reload();
    const numbers = (name) => (given.get(name) ?? "").split(",").filter(Boolean).map(Number);
    view = numbers("box").length ? numbers("box") : [...data.whole];
    outline = data.lasso = numbers("lasso");
    for (const name of ["box", "lasso"]) form.elements[name].value = given.get(name) ?? "";
    settle();
    list();
  });

  // Other objects or other colours are another page; places on one map mean nothing on another.
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const other = form.elements.name.value !== form.dataset.name;
    location = address("/map", other ? { box: "", lasso: "" } : {});
  });
  for (const select of form.querySelectorAll("select")) select.addEventListener("change", () => form.requestSubmit());

  document.querySelector(".chosen").addEventListener("click", async (event) => {
    if (event.target.id === "none") {
      event.preventDefault();
      choose([]);
    }
    if (event.target.id !== "inspect") return;
    try {
      const made = await post("/hunt/rounds", { map: Object.fromEntries(new FormData(form)), count: 20000 });
      location = made.at;
    } catch (error) {
      say(error.message);
    }
  });

  // What the colours mean

  const legend = find("legend"), rgb = (one) => `rgb(${one.join(" ")})`;
  const write = (text, className = "") => legend.appendChild(Object.assign(document.createElement("span"), { textContent: text, className }));
  const number = (value) => String(Number(value.toPrecision(3)));
  if (data.scale?.names.length) {
    data.scale.names.forEach((name, at) => {
      write("", "swatch").style.background = data.named[at] ?? "rgb(122 126 136)";
      write(name);
    });
  } else {
    write(data.scale ? number(data.scale.low) : "few");
    write("", "ramp").style.background = `linear-gradient(to right, ${data.stops.map(rgb).join(", ")})`;
    write(data.scale ? number(data.scale.high) : "many objects");
    if (data.scale) write(`${data.scale.column}${data.scale.unit && ` (${data.scale.unit})`}`, "of");
  }

  new ResizeObserver(() => { redraw(); showStamps(); }).observe(plane);
  redraw();
  loadLayer(null).then((layer) => {
    base = layer;
    if (!layer.complete) find("sampled").textContent = `${layer.count.toLocaleString("en")} of them as points; zoom in for the others.`;
    draw();
    showStamps();
    return loadDetail();
  }).catch((error) => say(error.message));
}
