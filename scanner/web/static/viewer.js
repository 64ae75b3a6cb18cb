// The viewer of one object: everything after the first look at a field happens without a request.
import { Cutout, VIEW, draw } from "./cutout.js";
import { say } from "./page.js";

const viewer = document.querySelector(".viewer");
if (viewer) {
  const canvas = viewer.querySelector("canvas");
  const controls = viewer.parentElement.querySelector(".controls");
  const view = { ...VIEW }, fields = new Map();
  let field = "cutout";

  const show = async () => {
    if (!fields.has(field)) fields.set(field, Cutout.fetch(`${viewer.dataset.window}&field=${field}`));
    try {
      const cutout = await fields.get(field);
      draw(canvas, cutout, view);
      scale(cutout);
      canvas.dataset.drawn = [field, view.plane, view.stretch, view.map, view.gain, view.residual].join(" ");
    } catch (error) {
      say(error.message);
    }
  };

  const scale = (cutout) => {
    const arcsec = [1, 2, 5, 10].findLast((one) => one < cutout.size * cutout.pixelScale * 0.3) ?? 1;
    const bar = viewer.querySelector(".scalebar");
    bar.querySelector("i").style.width = `${(100 * arcsec) / (cutout.size * cutout.pixelScale)}cqw`;
    bar.querySelector("span").textContent = `${arcsec}″`;
  };

  const press = (name, button) => {
    for (const other of controls.querySelectorAll(`[data-${name}]`)) other.setAttribute("aria-pressed", String(other === button));
  };
  controls.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.plane) {
      view.plane = button.dataset.plane;
      press("plane", button);
    } else if (button.dataset.field) {
      field = button.dataset.field;
      press("field", button);
    } else {
      view.residual = !view.residual;
      button.setAttribute("aria-pressed", String(view.residual));
    }
    show();
  });
  controls.addEventListener("input", (event) => {
    const name = event.target.dataset.view;
    if (!name) return;
    view[name] = name === "gain" ? Number(event.target.value) : event.target.value;
    // A map belongs to one band.
    if (name === "map" && view.plane === "colour") {
      view.plane = controls.querySelectorAll("[data-plane]")[3]?.dataset.plane ?? view.plane;
      press("plane", controls.querySelector(`[data-plane="${view.plane}"]`));
    }
    show();
  });
  show();
}
