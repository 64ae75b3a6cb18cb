// One by one: a project of one person, who knows of an object what the catalogue says.
import { grade, links, list, position } from "./grading.js";

const data = JSON.parse(document.getElementById("data").textContent);

function describe({ row, triage }) {
  const facts = { position: position(row), object: row.object_id, triage };
  for (const name of ["known_as", "score", "score_lens", "probability", "similarity"]) {
    if (row[name]) facts[name.replace("_", " ")] = typeof row[name] === "number" ? row[name].toFixed(3) : row[name];
  }
  for (const name of ["mag_auto", ...data.bands.map((band) => `mag_${band}`)]) {
    if (typeof row[name] === "number") facts[name] = row[name].toFixed(2);
  }
  for (const name of ["flux_radius", "snr", "flags", "bands_present", "valid_fraction"]) {
    const value = row[name];
    facts[name] = typeof value === "number" && !Number.isInteger(value) ? value.toFixed(2) : value;
  }
  const ra = row.ra.toFixed(6), dec = row.dec.toFixed(6);
  document.getElementById("facts").replaceChildren(list(facts), links([
    ["ESASky", `https://sky.esa.int/esasky/?target=${ra}%20${dec}&fov=0.02&cooframe=J2000&sci=true`],
    ["Legacy", `https://www.legacysurvey.org/viewer?ra=${ra}&dec=${dec}&layer=ls-dr10&zoom=16`],
    ["SIMBAD", `https://simbad.cds.unistra.fr/simbad/sim-coo?Coord=${ra}%20${dec}&Radius=5&Radius.unit=arcsec`],
  ]));
}

if (data.objects.length) {
  const base = `/hunt/${data.round}`;
  grade(data, {
    windows: (object) => `${base}/windows/${object.number}`,
    wide: (object) => `${base}/wide/${object.number}`,
    state: (at) => `?${new URLSearchParams({ at, seed: data.seed, of: data.of })}`,
    describe,
    verdicts: (object, said, stretch) => [
      `${base}/verdicts`, { verdicts: [{ number: object.number, ...said }], view: "one", stretch, seed: data.seed },
    ],
    undo: "/hunt/undo",
    wasUndone: (done, object) => done.object_ids.includes(object.row.object_id),
  });
}
