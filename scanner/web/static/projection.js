// Equal-area projections of the sky: Hammer's for the whole, Lambert's azimuthal one for a part.
// Source: Calabretta and Greisen (2002), A&A 395, 1077.
export const RADIAN = Math.PI / 180, WHOLE = 360;

export const unit = (ra, dec) => {
  const [a, d] = [ra * RADIAN, dec * RADIAN];
  return [Math.cos(d) * Math.cos(a), Math.cos(d) * Math.sin(a), Math.sin(d)];
};
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

// From directions to pixels and back. East is on the left, as on the sky.
export function makeProjection(at, field, width, height) {
  const whole = field >= WHOLE, [ra, dec] = whole ? [at[0], 0] : at;
  const forward = unit(ra, dec), north = unit(ra, dec + 90), east = unit(ra + 90, 0);
  const scale = whole ? Math.min(width / 2 / Math.SQRT2, height / Math.SQRT2) / 2.08 : width / 4 / Math.sin((field / 4) * RADIAN);
  const toPixel = (v) => {
    const p = dot(v, forward), q = dot(v, east), r = dot(v, north);
    let x, y;
    if (whole) {
      const c = Math.hypot(p, q), turn = c ? p / c : 1;
      const half = Math.sqrt(Math.max((1 + turn) / 2, 0)), side = Math.sign(q) * Math.sqrt(Math.max((1 - turn) / 2, 0));
      const k = Math.SQRT2 / Math.sqrt(1 + c * half);
      [x, y] = [2 * k * c * side, k * r];
    } else {
      if (p < -0.98) return null;
      const k = Math.SQRT2 / Math.sqrt(1 + p);
      [x, y] = [k * q, k * r];
    }
    return [width / 2 - x * scale, height / 2 - y * scale];
  };
  const toSky = ([left, top]) => {
    let x = (width / 2 - left) / scale, y = (height / 2 - top) / scale, v;
    if (whole) {
      const z = Math.sqrt(1 - (x / 4) ** 2 - (y / 2) ** 2);
      if (!(z * z >= 0.5)) return null;
      return [(ra + (2 * Math.atan2(z * x, 2 * (2 * z * z - 1))) / RADIAN + 720) % 360, Math.asin(z * y) / RADIAN];
    }
    const rho = Math.hypot(x, y);
    if (rho > 2) return null;
    const angle = 2 * Math.asin(rho / 2), part = rho ? Math.sin(angle) / rho : 1;
    v = [0, 1, 2].map((axis) => Math.cos(angle) * forward[axis] + part * (x * east[axis] + y * north[axis]));
    return [(Math.atan2(v[1], v[0]) / RADIAN + 360) % 360, Math.asin(Math.max(-1, Math.min(v[2], 1))) / RADIAN];
  };
  return { whole, width, height, scale, toPixel, toSky };
}
