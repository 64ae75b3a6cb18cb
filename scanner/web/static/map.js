// The map: the server draws densities and resolves a lasso over all objects; the browser moves, zooms and draws the lasso.
import { post, say } from "./page.js";

const source = document.getElementById("data");
if (source) {
  const data = JSON.parse(source.textContent);
  const plane = document.getElementById("plane"), lasso = document.getElementById("lasso"), form = document.getElementById("view");
  let [x0, y0, x1, y1] = data.box;

  const toMap = (event) => {
    const { left, top, width, height } = plane.getBoundingClientRect();
    return [x0 + ((event.clientX - left) / width) * (x1 - x0), y1 - ((event.clientY - top) / height) * (y1 - y0)];
  };
  const toPlane = (x, y) => [(x - x0) / (x1 - x0), (y1 - y) / (y1 - y0)];

  const drawLasso = (corners) => {
    const pairs = [];
    for (let at = 0; at < corners.length; at += 2) pairs.push(toPlane(corners[at], corners[at + 1]).join(","));
    lasso.setAttribute("points", pairs.join(" "));
  };
  drawLasso(data.lasso);

  for (const one of data.near) {
    const link = document.createElement("a"), picture = document.createElement("img");
    link.href = `/objects/${one.object_id}`;
    link.title = `Object ${one.object_id}`;
    picture.src = `/cutouts/picture?ra=${one.ra}&dec=${one.dec}&tile=${encodeURIComponent(one.tile)}`;
    picture.alt = `Object ${one.object_id}`;
    picture.className = "stamp";
    const [left, top] = toPlane(...one.place);
    link.style.left = `${100 * left}%`;
    link.style.top = `${100 * top}%`;
    link.append(picture);
    document.getElementById("near").append(link);
  }

  const short = (values) => values.map((value) => Number(value.toPrecision(6))).join(",");
  const go = (changes) => {
    for (const [name, value] of Object.entries(changes)) form.elements[name].value = value;
    const given = [...new FormData(form)].filter(([, value]) => value);
    location = `/map?${new URLSearchParams(given)}`;
  };
  for (const select of form.querySelectorAll("select[data-submits]")) select.addEventListener("change", () => go({}));
  form.addEventListener("submit", (event) => { event.preventDefault(); go({}); });

  const zoom = (factor, [x, y] = [(x0 + x1) / 2, (y0 + y1) / 2]) =>
    go({ box: short([x + (x0 - x) * factor, y + (y0 - y) * factor, x + (x1 - x) * factor, y + (y1 - y) * factor]) });

  // Several notches of a wheel become one request.
  let factor = 1, timer;
  plane.addEventListener("wheel", (event) => {
    event.preventDefault();
    factor *= event.deltaY > 0 ? 1.25 : 0.8;
    const at = toMap(event);
    clearTimeout(timer);
    timer = setTimeout(() => zoom(factor, at), 200);
  }, { passive: false });

  let corners = null, grip = null;
  plane.addEventListener("pointerdown", (event) => {
    if (event.target.closest("#near a")) return;
    plane.setPointerCapture(event.pointerId);
    if (event.shiftKey) corners = toMap(event);
    else grip = [event.clientX, event.clientY];
  });
  plane.addEventListener("pointermove", (event) => {
    if (corners) {
      corners.push(...toMap(event));
      drawLasso(corners);
    } else if (grip) {
      document.getElementById("density").style.translate = `${event.clientX - grip[0]}px ${event.clientY - grip[1]}px`;
    }
  });
  plane.addEventListener("pointerup", (event) => {
    if (corners && corners.length >= 6) {
      // An outline of some 100 corners is enough, and fits in an address.
      const step = Math.max(1, Math.ceil(corners.length / 2 / 100));
      const kept = corners.filter((_, at) => Math.floor(at / 2) % step === 0);
      go({ lasso: short(kept) });
    } else if (grip) {
      const { width, height } = plane.getBoundingClientRect();
      const dx = ((event.clientX - grip[0]) / width) * (x1 - x0), dy = ((event.clientY - grip[1]) / height) * (y1 - y0);
      if (Math.abs(event.clientX - grip[0]) + Math.abs(event.clientY - grip[1]) > 3) go({ box: short([x0 - dx, y0 + dy, x1 - dx, y1 + dy]) });
    }
    corners = grip = null;
  });
  plane.addEventListener("keydown", (event) => {
    const width = (x1 - x0) / 5, height = (y1 - y0) / 5;
    const step = { ArrowLeft: [-width, 0], ArrowRight: [width, 0], ArrowUp: [0, height], ArrowDown: [0, -height] }[event.key];
    if (step) go({ box: short([x0 + step[0], y0 + step[1], x1 + step[0], y1 + step[1]]) });
    else if (event.key === "+" || event.key === "=") zoom(0.6);
    else if (event.key === "-") zoom(1 / 0.6);
    else if (event.key === "0") go({ box: "" });
    else if (event.key === "a") go({ lasso: short([x0, y0, x1, y0, x1, y1, x0, y1]) });
    else return;
    event.preventDefault();
  });

  document.getElementById("inspect")?.addEventListener("click", async () => {
    const view = Object.fromEntries(new FormData(form));
    try {
      const made = await post("/hunt/rounds", { map: view, count: 20000 });
      location = made.at;
    } catch (error) {
      say(error.message);
    }
  });
}
