// Points on a canvas: by WebGL, and where a browser has none, or lost it, pixel by pixel on a 2-D canvas. Both paint alike.

const UNKNOWN = [122, 126, 136];

// Colours of points, RGBA bytes: of a value on the scale from low to high, or of the name that its number stands for.
export function paint(count, value, scale, stops, named) {
  const colour = new Uint8Array(4 * count).fill(255);
  if (!value) {
    for (let at = 0; at < count; at++) colour.set([255, 244, 214], 4 * at);
    return colour;
  }
  const swatches = named.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  for (let at = 0; at < count; at++) {
    const number = value[at];
    let ink = UNKNOWN;
    if (scale.names.length) ink = swatches[number] ?? UNKNOWN;
    else if (Number.isFinite(number)) {
      const place = Math.min(Math.max((number - scale.low) / (scale.high - scale.low), 0), 1) * (stops.length - 1);
      const lower = Math.min(Math.floor(place), stops.length - 2), part = place - lower;
      ink = stops[lower].map((one, channel) => Math.round(one * (1 - part) + stops[lower + 1][channel] * part));
    }
    colour.set(ink, 4 * at);
  }
  return colour;
}

const VERTEX = `
  attribute vec2 place; attribute vec4 colour; uniform vec4 view; uniform mediump float size; varying vec4 ink;
  void main() {
    gl_Position = vec4((place - view.xy) * view.zw - 1.0, 0.0, 1.0);
    gl_PointSize = size;
    ink = colour;
  }`;
const FRAGMENT = `
  precision mediump float; varying vec4 ink; uniform float size, opacity;
  void main() {
    float edge = clamp((1.0 - length(gl_PointCoord * 2.0 - 1.0)) * size / 2.0 + 0.25, 0.0, 1.0);
    gl_FragColor = vec4(ink.rgb, 1.0) * edge * opacity;
  }`;

function byWebGL(canvas) {
  const gl = canvas.getContext("webgl", { premultipliedAlpha: true, antialias: false });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
    console.warn("WebGL is not used:", gl.getProgramInfoLog(program));
    return null;
  }
  gl.useProgram(program);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const uniform = (name) => gl.getUniformLocation(program, name);
  const view = uniform("view"), size = uniform("size"), opacity = uniform("opacity");
  let count = 0, buffers = [];
  const attribute = (name, data, width, kind, normalised) => {
    const at = gl.getAttribLocation(program, name), buffer = gl.createBuffer();
    buffers.push(buffer);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, width, kind, normalised, 0, 0);
  };
  return {
    kind: "webgl",
    load(points) {
      for (const buffer of buffers.splice(0)) gl.deleteBuffer(buffer);
      const place = new Float32Array(2 * points.count);
      for (let at = 0; at < points.count; at++) place.set([points.x[at], points.y[at]], 2 * at);
      attribute("place", place, 2, gl.FLOAT, false);
      attribute("colour", points.colour, 4, gl.UNSIGNED_BYTE, true);
      count = points.count;
    },
    draw([x0, y0, x1, y1], radius, strength) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform4f(view, x0, y0, 2 / (x1 - x0), 2 / (y1 - y0));
      gl.uniform1f(size, 2 * radius);
      gl.uniform1f(opacity, strength);
      gl.drawArrays(gl.POINTS, 0, count);
    },
  };
}

function byPixels(canvas) {
  const context = canvas.getContext("2d");
  let points = { count: 0 };
  return {
    kind: "pixels",
    load(loaded) { points = loaded; },
    draw([x0, y0, x1, y1], radius, strength) {
      const { width, height } = canvas, image = context.createImageData(width, height), pixels = image.data;
      const reach = Math.ceil(radius), disc = [];
      for (let down = -reach; down <= reach; down++) {
        for (let right = -reach; right <= reach; right++) {
          const edge = Math.min(Math.max(radius - Math.hypot(down, right) + 0.25, 0), 1) * strength;
          if (edge) disc.push([right, down, edge]);
        }
      }
      const across = width / (x1 - x0), up = height / (y1 - y0);
      for (let at = 0; at < points.count; at++) {
        const column = Math.floor((points.x[at] - x0) * across), row = Math.floor((y1 - points.y[at]) * up);
        if (column < -reach || row < -reach || column >= width + reach || row >= height + reach) continue;
        for (const [right, down, edge] of disc) {
          const x = column + right, y = row + down;
          if (x < 0 || y < 0 || x >= width || y >= height) continue;
          // Over what is there, as WebGL blends; the colours of an image are not multiplied by their opacity.
          const to = 4 * (y * width + x), kept = (pixels[to + 3] / 255) * (1 - edge), alpha = edge + kept;
          for (let channel = 0; channel < 3; channel++) {
            pixels[to + channel] = (points.colour[4 * at + channel] * edge + pixels[to + channel] * kept) / alpha;
          }
          pixels[to + 3] = 255 * alpha;
        }
      }
      context.putImageData(image, 0, 0);
    },
  };
}

// A painter of the canvas with this id. Its canvas is replaced where WebGL is lost: one that had it cannot have another.
export function makePainter(id, afresh) {
  const canvas = () => document.getElementById(id);
  let loaded = null;
  let painter = byWebGL(canvas());
  const fallBack = () => {
    canvas().replaceWith(canvas().cloneNode());
    painter = byPixels(canvas());
    if (loaded) painter.load(loaded);
  };
  if (!painter) fallBack();
  canvas().addEventListener("webglcontextlost", () => { fallBack(); afresh(); });
  return {
    load(points) { loaded = points; painter.load(points); },
    draw(view, radius, strength) {
      const shown = canvas(), ratio = devicePixelRatio, side = Math.max(1, Math.round(shown.clientWidth * ratio));
      if (shown.width !== side) shown.width = shown.height = side;
      painter.draw(view, radius * ratio, strength);
      shown.dataset.drawn = `${painter.kind} ${loaded?.count ?? 0}`;
    },
  };
}
