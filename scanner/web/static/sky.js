// The sky: tiles in an equal-area projection, by their number of objects.
import { say } from "./page.js";
import { loadPart } from "./part.js";
import { RADIAN, WHOLE, makeProjection, unit } from "./projection.js";

const WIDEST_PART = 170, NARROWEST = 0.2, SETTLED = 250;
const FAILED = "#ff8f80", CHOSEN = "#ffffff", LINE = "rgb(255 255 255 / 13%)", TEXT = "rgb(243 241 236 / 62%)";
const STEPS = [30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02];

const find = (id) => document.getElementById(id);
start(JSON.parse(find("data").textContent));

function start(data) {
  const plane = find("plane"), canvas = find("canvas"), tip = find("tip"), form = find("view");
  let at = data.at, field = data.field, chosen = data.chosen?.tile ?? "", tiles = [], most = 1, projection = null;

  // Drawing

  let frame = 0;
  const redraw = () => { frame ||= requestAnimationFrame(() => { frame = 0; draw(); }); };

  function fit(one) {
    const ratio = devicePixelRatio, { clientWidth, clientHeight } = one;
    one.width = Math.round(clientWidth * ratio);
    one.height = Math.round(clientHeight * ratio);
    const pen = one.getContext("2d");
    pen.scale(ratio, ratio);
    return [pen, clientWidth, clientHeight];
  }

  function draw() {
    const [pen, width, height] = fit(canvas);
    projection = makeProjection(at, field, width, height);
    if (projection.whole) drawRim(pen, "#101318");
    drawTiles(pen, projection, true);
    drawLines(pen);
    if (plane.matches(":focus-visible")) {
      pen.strokeStyle = CHOSEN;
      pen.strokeRect(width / 2 - 4, height / 2 - 4, 8, 8);
    }
    find("locator").hidden = projection.whole;
    if (!projection.whole) locate();
    canvas.dataset.drawn = `${tiles.length} ${projection.whole ? "whole" : "part"}`;
  }

  function drawRim(pen, fill) {
    const [x, y] = [projection.width / 2, projection.height / 2], reach = 2 * Math.SQRT2 * projection.scale;
    pen.beginPath();
    pen.ellipse(x, y, reach, reach / 2, 0, 0, 2 * Math.PI);
    pen.fillStyle = fill;
    pen.fill();
  }

  function drawTiles(pen, onto, keeps) {
    for (const one of tiles) {
      const middle = one.direction && onto.toPixel(one.direction);
      if (keeps) one.path = null;
      if (!middle) continue;
      const margin = 4 * onto.scale * 0.02 + 20;
      if (middle[0] < -margin || middle[1] < -margin || middle[0] > onto.width + margin || middle[1] > onto.height + margin) continue;
      const path = one.corners.map(onto.toPixel).filter(Boolean);
      const across = Math.max(...path.map((each) => each[0])) - Math.min(...path.map((each) => each[0]));
      // A tile that is too small to see, or is cut in two by the rim of the whole sky, is a dot.
      const dotted = path.length < 3 || across < 3 || across > onto.width / 2;
      const shape = dotted ? [[-1.5, -1.5], [1.5, -1.5], [1.5, 1.5], [-1.5, 1.5]].map(([x, y]) => [middle[0] + x, middle[1] + y]) : path;
      pen.beginPath();
      shape.forEach(([x, y], number) => pen[number ? "lineTo" : "moveTo"](x, y));
      pen.closePath();
      pen.fillStyle = one.failed && !one.objects ? "rgb(255 143 128 / 16%)" : ink(one.objects / most);
      pen.fill();
      if (!keeps) continue;
      Object.assign(one, { path: shape, middle, across: dotted ? 0 : across });
      if (dotted) continue;
      pen.lineWidth = 0.5;
      pen.strokeStyle = "rgb(8 9 11 / 80%)";
      pen.stroke();
    }
    // What must not be hidden by neighbours comes last.
    for (const one of keeps ? tiles.filter((each) => each.path) : []) {
      if (one.failed || one.tile === chosen) outline(pen, one, one.tile === chosen);
      if (one.failed && one.across) cross(pen, one.middle, Math.max(3, Math.min(one.across / 5, 14)));
      if (one.across > 74) label(pen, one, one.middle);
    }
  }

  function outline(pen, one, isChosen) {
    pen.beginPath();
    one.path.forEach(([x, y], number) => pen[number ? "lineTo" : "moveTo"](x, y));
    pen.closePath();
    pen.lineWidth = isChosen ? 3 : 1.5;
    pen.strokeStyle = isChosen ? CHOSEN : FAILED;
    pen.stroke();
  }

  // Seen without colours too.
  function cross(pen, [x, y], reach) {
    pen.beginPath();
    for (const way of [1, -1]) {
      pen.moveTo(x - reach, y - way * reach);
      pen.lineTo(x + reach, y + way * reach);
    }
    pen.strokeStyle = FAILED;
    pen.lineWidth = 2;
    pen.stroke();
  }

  function label(pen, one, [x, y]) {
    pen.font = "600 12px sans-serif";
    pen.textAlign = "center";
    // Light or dark, whichever is seen on the colour of the tile.
    pen.fillStyle = one.objects / most > 0.55 ? "#170d2e" : "#f3f1ec";
    pen.fillText(one.tile, x, y - (one.failed ? 22 : 3));
    pen.font = "11.5px sans-serif";
    pen.fillText(one.objects === null ? "failed" : one.objects.toLocaleString("en"), x, y + (one.failed ? 32 : 13));
  }

  function drawLines(pen) {
    const { width, height, whole } = projection, step = whole ? 30 : STEPS.findLast((one) => field / one <= 7) ?? STEPS[0];
    const reach = whole ? 90 : Math.min(field * 0.9, 90), low = Math.max(-90, at[1] - reach), high = Math.min(90, at[1] + reach);
    const polar = whole || high >= 88 || low <= -88, spread = polar ? 180 : Math.min(180, reach / Math.cos(Math.max(Math.abs(low), Math.abs(high)) * RADIAN));
    const stepOfRa = STEPS.findLast((one) => one >= step && (2 * spread) / one <= 40) ?? 30;
    pen.lineWidth = 1;
    pen.font = "11px sans-serif";
    const inside = (one) => one && one[0] >= 0 && one[1] >= 0 && one[0] <= width && one[1] <= height;
    const line = (points, text, place) => {
      pen.beginPath();
      let before = null, labelled = false;
      for (const point of points) {
        const near = before && point && Math.hypot(point[0] - before[0], point[1] - before[1]) < width / 2;
        if (point) pen[near ? "lineTo" : "moveTo"](...point);
        if (!labelled && inside(point) && (!whole || place(point))) {
          labelled = true;
          const [x, y] = whole ? [point[0] + 3, point[1] - 3] : place(point);
          pen.fillStyle = TEXT;
          pen.fillText(text, x, y);
        }
        before = point;
      }
      pen.strokeStyle = LINE;
      pen.stroke();
    };
    const range = (from, to, by) => Array.from({ length: Math.floor((to - from) / by + 1e-6) + 1 }, (_, number) => from + number * by);
    const round = (value) => String(Number(value.toFixed(4)));
    pen.textAlign = "left";
    for (const ra of range(Math.ceil((at[0] - spread) / stepOfRa) * stepOfRa, at[0] + spread - (spread >= 180 ? stepOfRa / 2 : 0), stepOfRa)) {
      const points = range(low, high, (high - low) / 90).map((dec) => projection.toPixel(unit(ra, dec)));
      line(points, `${round((ra + 720) % 360)}°`, ([x, y]) => (whole ? Math.abs(y - height / 2) < 4 : [x + 4, Math.min(y, height) - 6]));
    }
    const middle = projection.toPixel(unit(at[0], 0));
    for (const dec of range(Math.ceil(Math.max(low, -89) / step) * step, Math.min(high, 89), step)) {
      const points = range(at[0] + spread - 1e-3, at[0] - spread, -spread / 90).map((ra) => projection.toPixel(unit(ra, dec)));
      line(points, whole && !dec ? "" : `${dec > 0 ? "+" : ""}${round(dec)}°`, ([x, y]) => (whole ? Math.abs(x - middle[0]) < width / 100 : [Math.max(x, 0) + 5, y - 4]));
    }
  }

  function locate() {
    const [pen, width, height] = fit(find("locator")), sky = makeProjection([at[0], 0], WHOLE, width, height), kept = projection;
    projection = sky;
    drawRim(pen, "rgb(40 45 54 / 85%)");
    projection = kept;
    drawTiles(pen, sky, false);
    const [x, y] = sky.toPixel(unit(...at)), side = Math.max(6, (field / WHOLE) * width);
    pen.strokeStyle = CHOSEN;
    pen.strokeRect(x - side / 2, y - side / 3, side, side / 1.5);
  }

  function ink(level) {
    const place = Math.min(Math.max(level, 0), 1) * (data.stops.length - 1), lower = Math.min(Math.floor(place), data.stops.length - 2);
    return `rgb(${data.stops[lower].map((one, channel) => Math.round(one + (data.stops[lower + 1][channel] - one) * (place - lower))).join(" ")})`;
  }

  // Moving, zooming and choosing

  let timer;
  const settle = () => {
    redraw();
    clearTimeout(timer);
    timer = setTimeout(() => { history.replaceState(null, "", address()); plane.dataset.settled = address(); }, SETTLED);
  };
  function address(path = "/sky") {
    const [ra, dec] = data.whole.at, moved = field !== data.whole.field || at[0] !== ra || at[1] !== dec;
    const code = path === "/sky" && !chosen && new URLSearchParams(location.search).get("code");
    const given = { tile: path === "/sky" ? chosen : "", code, ...(moved && { at: `${at[0].toFixed(4)},${at[1].toFixed(4)}`, field: field.toFixed(3) }) };
    const query = new URLSearchParams(Object.entries(given).filter(([, value]) => value));
    return query.size ? `${path}?${query}` : path;
  }

  function zoomTo(factor, [x, y] = [canvas.clientWidth / 2, canvas.clientHeight / 2]) {
    let to = field * factor;
    // Between a part and the whole sky lies a change of projection.
    if (field >= WHOLE && factor < 1) to = WIDEST_PART;
    else if (to > WIDEST_PART) to = WHOLE;
    const under = projection?.toSky([x, y]);
    field = Math.max(to, NARROWEST);
    if (field >= WHOLE) at = [at[0], 0];
    else if (under) {
      // What is under the pointer stays there.
      const after = makeProjection(at, field, canvas.clientWidth, canvas.clientHeight).toPixel(unit(...under));
      if (after) moveBy(x - after[0], y - after[1], makeProjection(at, field, canvas.clientWidth, canvas.clientHeight));
    }
    settle();
  }

  function moveBy(dx, dy, by = projection) {
    const slope = Math.max(Math.cos(at[1] * RADIAN), 0.05);
    const ra = at[0] + dx / by.scale / RADIAN / (by.whole ? Math.SQRT2 : slope);
    at = [((ra % 360) + 360) % 360, by.whole ? 0 : Math.max(-90, Math.min(at[1] + dy / by.scale / RADIAN, 90))];
    settle();
  }

  function pick([x, y]) {
    let best = null, least = Infinity;
    for (const one of tiles) {
      if (!one.path) continue;
      let inside = false;
      one.path.forEach(([x0, y0], number) => {
        const [x1, y1] = one.path[(number + 1) % one.path.length];
        if (y0 > y !== y1 > y && x < ((x1 - x0) * (y - y0)) / (y1 - y0) + x0) inside = !inside;
      });
      const [a, b] = one.path.reduce(([p, q], [r, s]) => [p + r / one.path.length, q + s / one.path.length], [0, 0]);
      const away = Math.hypot(a - x, b - y);
      if ((inside || away < 4) && away < least) [best, least] = [one, away];
    }
    return best;
  }

  const spot = (event) => {
    const { left, top } = plane.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };

  function choose(tile) {
    chosen = tile;
    history.pushState(null, "", address());
    show();
  }
  function show() {
    form.elements.tile.value = chosen;
    redraw();
    loadPart("answer").catch((error) => say(error.message));
  }

  plane.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomTo(2 ** (Math.max(-240, Math.min(event.deltaY, 240)) / 400), spot(event));
  }, { passive: false });

  const fingers = new Map();
  let travelled = 0;
  plane.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    plane.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    travelled = 0;
    tip.hidden = true;
  });
  plane.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return describe(event);
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    const other = [...fingers.values()].find((one) => one !== before);
    travelled += Math.abs(dx) + Math.abs(dy);
    if (other) {
      const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      if (apart(before) && apart(event)) zoomTo(apart(before) / apart(event), spot(other));
    } else if (projection && travelled > 3) moveBy(dx, dy);
    fingers.set(event.pointerId, event);
  });
  const release = (event) => {
    if (!fingers.delete(event.pointerId) || event.type !== "pointerup" || travelled > 3) return;
    const one = pick(spot(event));
    if (one) choose(one.tile);
  };
  plane.addEventListener("pointerup", release);
  plane.addEventListener("pointercancel", release);
  plane.addEventListener("pointerleave", () => { tip.hidden = true; });
  plane.addEventListener("focus", redraw);
  plane.addEventListener("blur", redraw);

  function describe(event) {
    const [x, y] = spot(event), one = pick([x, y]);
    tip.hidden = !one;
    plane.style.cursor = one ? "pointer" : "";
    if (!one) return;
    const count = one.objects === null ? "" : `: ${one.objects.toLocaleString("en")} objects`;
    tip.textContent = `${one.tile}${count}${one.failed ? ` – ${one.failed}` : ""}`;
    tip.style.left = `${x}px`;
    tip.style.top = `${y}px`;
    tip.classList.toggle("left", x > plane.clientWidth / 2);
  }

  const fitAll = () => { [at, field] = [data.whole.at, data.whole.field]; settle(); };
  const keys = {
    ArrowLeft: () => moveBy(canvas.clientWidth / 8, 0), ArrowRight: () => moveBy(-canvas.clientWidth / 8, 0),
    ArrowUp: () => moveBy(0, canvas.clientHeight / 8), ArrowDown: () => moveBy(0, -canvas.clientHeight / 8),
    "+": () => zoomTo(0.6), "=": () => zoomTo(0.6), "-": () => zoomTo(1 / 0.6), 0: fitAll,
    Enter: () => { const one = pick([canvas.clientWidth / 2, canvas.clientHeight / 2]); if (one) choose(one.tile); },
    Escape: () => choose(""),
  };
  plane.addEventListener("keydown", (event) => {
    const act = event.target === plane && !event.ctrlKey && !event.metaKey && !event.altKey && keys[event.key];
    if (!act || !projection) return;
    event.preventDefault();
    act();
  });
  find("in").addEventListener("click", () => zoomTo(0.5));
  find("out").addEventListener("click", () => zoomTo(2));
  find("fit").addEventListener("click", fitAll);
  find("whole").addEventListener("click", () => { [at, field] = [[at[0], 0], WHOLE]; settle(); });
  find("aladin")?.addEventListener("click", (event) => { event.currentTarget.href = address("/sky/aladin"); });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    choose(form.elements.tile.value.trim());
  });
  document.querySelector(".chosen").addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="/sky"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const given = new URL(link.href).searchParams;
    chosen = given.get("tile") ?? "";
    history.pushState(null, "", given.get("code") ? `/sky?${new URLSearchParams({ code: given.get("code") })}` : "/sky");
    history.replaceState(null, "", address());
    const one = tiles.find((each) => each.tile === chosen);
    // A tile that is out of sight is brought into it.
    if (one?.direction && !one.path) at = [one.ra, one.dec];
    show();
  });
  addEventListener("popstate", () => {
    const given = new URLSearchParams(location.search), place = (given.get("at") ?? "").split(",").map(Number);
    chosen = given.get("tile") ?? "";
    [at, field] = place.length === 2 ? [place, Number(given.get("field")) || data.whole.field] : [data.whole.at, data.whole.field];
    show();
  });

  // The tiles, once

  async function load() {
    const answer = await fetch("/sky", { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error((await answer.json()).message);
    const { tiles: covered, failures } = await answer.json();
    const failed = new Map(failures.map((one) => [one.tile, one]));
    const known = new Set(covered.map((one) => one.tile));
    const rest = failures.filter((one) => !known.has(one.tile)).map((one) => ({ ...one, objects: null }));
    tiles = [...covered, ...rest].map((one) => ({
      ...one, failed: failed.get(one.tile)?.message ?? "",
      direction: one.ra === null ? null : unit(one.ra, one.dec), corners: one.outline.map((corner) => unit(...corner)),
    }));
    const counts = covered.map((one) => one.objects).sort((a, b) => a - b);
    most = Math.max(counts[Math.floor(0.98 * (counts.length - 1))] ?? 1, 1);
    const legend = find("legend");
    const write = (text, className = "") => legend.appendChild(Object.assign(document.createElement("span"), { textContent: text, className }));
    write("0");
    write("", "ramp").style.background = `linear-gradient(to right, ${data.stops.map((one) => `rgb(${one.join(" ")})`).join(", ")})`;
    write(most.toLocaleString("en"));
    write("objects of a tile", "of");
    if (failures.length) write("✕ failed");
    redraw();
  }

  new ResizeObserver(redraw).observe(plane);
  load().catch((error) => say(error.message));
}
