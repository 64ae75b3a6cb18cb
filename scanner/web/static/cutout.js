// Pixels of a cutout in the browser: fetched once as float16, then drawn with any stretch, band, map or residual.

const halves = new Float32Array(65536);
for (let bits = 0; bits < 65536; bits++) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits & 32768 ? -1 : 1;
  halves[bits] = sign * (exponent === 0 ? fraction * 2 ** -24
    : exponent === 31 ? (fraction ? NaN : Infinity)
    : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

// The weights and triples of scanner.survey.bands: a browser and a figure show the same colours.
const WEIGHTS = { u: 2.6, g: 1.7, r: 0.6, i: 0.4, z: 0.32, y: 0.3 };
const TRIPLES = ["irg", "zrg", "zig", "rgu", "iru", "zru", "ziu"];
const BLUE_TO_RED = "ugrizy";
const NO_DATA = [52, 52, 60];
// Those of scanner.figures.composite, whose formula is drawn here.
const SOFTNESS = 150, BLACK = -1, WHITE = 220, FAINTEST = 0.001, BRIGHTEST = 30;

export class Cutout {
  // planes: Float32Array [S * S] of each band in nJy, NaN for no data, the southernmost row first.
  constructor(bands, size, pixelScale, planes) {
    Object.assign(this, { bands, size, pixelScale, planes });
  }

  static unpack(buffer, bands, size, pixelScale, offset = 0) {
    const scales = new Float32Array(buffer.slice(offset, offset + 4 * bands.length));
    const bits = new Uint16Array(buffer, offset + 4 * bands.length, bands.length * size * size);
    const planes = bands.map((_, band) => {
      const plane = new Float32Array(size * size);
      for (let at = 0; at < plane.length; at++) plane[at] = scales[band] * halves[bits[band * plane.length + at]];
      return plane;
    });
    return new Cutout(bands, size, pixelScale, planes);
  }

  static async fetch(url) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error((await answer.json()).message);
    const { headers } = answer;
    return Cutout.unpack(await answer.arrayBuffer(), headers.get("Scanner-Bands").split(","),
      Number(headers.get("Scanner-Size")), Number(headers.get("Scanner-Pixel-Scale")));
  }

  // The three bands of a colour picture, weighted.
  colours() {
    return this.triple().map((band) => this.weighted(band));
  }

  weighted(band) {
    return this.planes[band].map((value) => value * (WEIGHTS[this.bands[band]] ?? 1));
  }

  triple() {
    const there = this.bands.filter((_, at) => this.planes[at].some(Number.isFinite));
    for (const names of TRIPLES) {
      if ([...names].every((name) => there.includes(name))) return [...names].map((name) => this.bands.indexOf(name));
    }
    const ordered = there.length ? [...there].sort((a, b) => BLUE_TO_RED.indexOf(a) - BLUE_TO_RED.indexOf(b)) : [this.bands[0]];
    return [ordered.at(-1), ordered[Math.floor(ordered.length / 2)], ordered[0]].map((name) => this.bands.indexOf(name));
  }
}

function median(values) {
  if (!values.length) return NaN;
  values.sort();
  const middle = values.length >> 1;
  return values.length % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// By the differences of neighbouring pixels, which a smooth galaxy hardly affects.
function noiseOf(planes, size) {
  const steps = [];
  for (const plane of planes) {
    for (let at = 0; at < plane.length; at++) {
      if (at % size === 0) continue;
      const step = Math.abs(plane[at] - plane[at - 1]);
      if (Number.isFinite(step)) steps.push(step);
    }
  }
  return steps.length ? (median(Float32Array.from(steps)) * 1.4826) / Math.SQRT2 : 0;
}

function brightestOf(planes) {
  const values = Float32Array.from(planes.flatMap((plane) => Array.from(plane).filter(Number.isFinite))).sort();
  if (!values.length) return 0;
  const place = 0.995 * (values.length - 1), low = Math.floor(place);
  return values[low] + (place - low) * ((values[low + 1] ?? values[low]) - values[low]);
}

// The stretch of one cutout, or one stretch for many: black and white in units of their noise.
export function chooseStretch(cutouts, plane = "colour") {
  const channels = cutouts.map((cutout) => (plane === "colour" ? cutout.colours() : [cutout.weighted(cutout.bands.indexOf(plane))]));
  const each = channels[0].map((_, channel) => channels.map((one) => one[channel]));
  const noise = each.reduce((sum, planes) => sum + noiseOf(planes, cutouts[0].size), 0) / each.length;
  const white = Math.max(WHITE * noise, Math.max(...each.map(brightestOf)) / BRIGHTEST);
  return { black: BLACK * noise, white: white || 1 };
}

// Second moments of the middle give the ellipse; the median of each ring is subtracted. A smooth galaxy goes, arcs stay.
export function residual(plane, size) {
  const middle = (size - 1) / 2, reach = size / 5;
  let sum = 0, xx = 0, yy = 0, xy = 0;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const dx = x - middle, dy = y - middle, value = plane[y * size + x];
      if (dx * dx + dy * dy > reach * reach || !(value > 0)) continue;
      sum += value; xx += value * dx * dx; yy += value * dy * dy; xy += value * dx * dy;
    }
  }
  const angle = sum ? 0.5 * Math.atan2(2 * xy, xx - yy) : 0;
  const spread = Math.hypot(xx - yy, 2 * xy), major = xx + yy + spread, minor = xx + yy - spread;
  const axis = sum && minor > 0 ? Math.max(Math.sqrt(minor / major), 0.3) : 1;
  const cos = Math.cos(angle), sin = Math.sin(angle);
  const radius = new Float32Array(size * size);
  const rings = [];
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const dx = x - middle, dy = y - middle, at = y * size + x;
      radius[at] = Math.hypot((dx * cos + dy * sin) * Math.sqrt(axis), (dy * cos - dx * sin) / Math.sqrt(axis));
      const ring = Math.round(radius[at]);
      if (Number.isFinite(plane[at])) (rings[ring] ||= []).push(plane[at]);
    }
  }
  const profile = Array.from(rings, (ring) => (ring ? median(Float32Array.from(ring)) : 0));
  return plane.map((value, at) => {
    const low = Math.floor(radius[at]), part = radius[at] - low;
    return value - ((profile[low] ?? 0) * (1 - part) + (profile[low + 1] ?? profile[low] ?? 0) * part);
  });
}

const CURVES = {
  asinh: (light) => Math.asinh(SOFTNESS * light) / Math.asinh(SOFTNESS),
  sqrt: (light) => Math.sqrt(light),
  log: (light) => Math.log1p(SOFTNESS * light) / Math.log1p(SOFTNESS),
  linear: (light) => light,
};

const MAPS = {
  grey: [[0, 0, 0], [255, 255, 255]],
  inverted: [[255, 255, 255], [0, 0, 0]],
  heat: [[0, 0, 0], [130, 12, 20], [232, 92, 24], [255, 200, 90], [255, 255, 240]],
  viridis: [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]],
};

function colourOf(map, value, out, at) {
  const stops = MAPS[map], place = Math.min(Math.max(value, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2), part = place - low;
  for (let c = 0; c < 3; c++) out[at + c] = stops[low][c] * (1 - part) + stops[low + 1][c] * part;
}

export const VIEW = { plane: "colour", stretch: "asinh", map: "grey", gain: 0, residual: false };

// Draws one cutout; `stretch` (by default its own) is shared by the cutouts of a page.
export function draw(canvas, cutout, view = VIEW, stretch = undefined) {
  const { size } = cutout, count = size * size, curve = CURVES[view.stretch];
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d"), image = context.createImageData(size, size), out = image.data;
  const isColour = view.plane === "colour";
  const { black, white } = stretch ?? chooseStretch([cutout], view.plane);
  const channels = isColour ? cutout.colours() : [cutout.weighted(cutout.bands.indexOf(view.plane))];
  // Where one band has no data, the mean of the others stands for it.
  const there = new Uint8Array(count);
  for (let at = 0; at < count; at++) {
    let sum = 0, known = 0;
    for (const plane of channels) if (Number.isFinite(plane[at])) { sum += plane[at]; known++; }
    there[at] = known;
    if (known < channels.length) for (const plane of channels) if (!Number.isFinite(plane[at])) plane[at] = known ? sum / known : 0;
  }
  const shown = view.residual ? channels.map((plane) => residual(plane, size)) : channels;
  // Twice as bright is half the distance from black to white.
  const range = (white - black) / 2 ** view.gain;
  const [red, green, blue] = isColour ? shown : [shown[0], shown[0], shown[0]];
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      // The first row of FITS pixels is the lowest, that of an image the highest.
      const at = (size - 1 - y) * size + x, to = 4 * (y * size + x);
      out[to + 3] = 255;
      if (!there[at]) {
        out[to] = NO_DATA[0]; out[to + 1] = NO_DATA[1]; out[to + 2] = NO_DATA[2];
      } else if (isColour) {
        const r = (red[at] - black) / range, g = (green[at] - black) / range, b = (blue[at] - black) / range;
        const light = Math.max((r + g + b) / 3, FAINTEST), factor = curve(light) / light;
        // Too bright in one band, the colour is kept and all three are dimmed.
        const scale = (255 * factor) / Math.max(r * factor, g * factor, b * factor, 1);
        out[to] = Math.floor(Math.max(r, 0) * scale + 0.5);
        out[to + 1] = Math.floor(Math.max(g, 0) * scale + 0.5);
        out[to + 2] = Math.floor(Math.max(b, 0) * scale + 0.5);
      } else {
        colourOf(view.map, curve(Math.max((red[at] - black) / range, 0)), out, to);
      }
    }
  }
  context.putImageData(image, 0, 0);
}
