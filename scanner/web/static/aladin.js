// The tiles over a survey image, in the Aladin Lite that the server was started with.
const data = JSON.parse(document.getElementById("data").textContent);

if (globalThis.A) {
  await A.init;
  const [ra, dec] = data.at;
  const aladin = A.aladin("#aladin-lite-div", { target: `${ra} ${dec}`, fov: Math.min(data.field, 180), cooFrame: "ICRS" });
  const overlay = A.graphicOverlay({ name: "tiles", color: "#ffc868", lineWidth: 2 });
  aladin.addOverlay(overlay);
  overlay.addFootprints(data.outlines.map((outline) => A.polygon(outline)));
  document.body.dataset.shown = data.outlines.length;
} else {
  document.getElementById("status").textContent = "Aladin Lite was not loaded: check what --aladin names.";
}
