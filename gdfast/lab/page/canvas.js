// Drawing on a canvas, from float32 numbers alone: a map or a turning view of a surface with paths over it, and charts.
// It depends on nothing, and knows no optimizer: the lab, a watched training and the recording all draw with it.

export const X = 0, Y = 1, LOSS = 2, LR = 3, MOVE = 4, SLOPE = 5, M = 6, V = 8;

const BANDS = 22, DECADES = 4.5, MESH = 52;

export const THEMES = {
  light: {
    ink: "#1b2530", soft: "#566472", line: "#d4dbe2", paper: "#ffffff", low: [250, 252, 253], high: [160, 180, 199],
    contour: "rgba(40,60,80,.22)", rim: "rgba(255,255,255,.9)",
    racers: ["#0072b2", "#d55e00", "#00805c", "#c2559a", "#9a6b00", "#35a3e0", "#6b3fa0", "#303030"],
  },
  dark: {
    ink: "#e8edf2", soft: "#a3b0bd", line: "#33404c", paper: "#161d24", low: [16, 22, 28], high: [84, 104, 124],
    contour: "rgba(200,220,240,.16)", rim: "rgba(10,14,18,.85)",
    racers: ["#4aa8ec", "#ff8a45", "#2ed0a0", "#f08fc4", "#f2c14e", "#a8dcff", "#bd93f9", "#f4f4f4"],
  },
};
export const DASHES = [[], [9, 3], [3, 3], [12, 3, 3, 3], [6, 2], [1.5, 3], [14, 4], [4, 2, 1, 2]];

export function themeNow() {
  const set = document.documentElement.dataset.theme;
  return THEMES[set || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")];
}

/** A number for people: three digits, no needless zeros. */
export function said(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text = size >= 1e5 || size < 1e-4 ? value.toExponential(digits - 1) : value.toPrecision(digits);
  if (text.includes(".") && !text.includes("e")) text = text.replace(/\.?0+$/, "");
  text = text.replace(/(\.\d*?)0+e/, "$1e").replace(".e", "e").replace("e+", "e");
  return text.replace("-", "−").replace("e-", "e−");
}

/** What was seen so far: the frames of a race, by step and racer. */
export class Track {
  constructor(racers, fields) {
    this.racers = racers;
    this.fields = fields;
    this.length = 0;
    this.numbers = new Float32Array(256 * racers * fields);
  }

  add(first, numbers) {
    const each = this.racers * this.fields, start = first * each;
    if (start + numbers.length > this.numbers.length) {
      const larger = new Float32Array(2 * (start + numbers.length));
      larger.set(this.numbers);
      this.numbers = larger;
    }
    this.numbers.set(numbers, start);
    this.length = each ? (start + numbers.length) / each : 1;
  }

  at(step, racer, field) {
    return this.numbers[(step * this.racers + racer) * this.fields + field];
  }

  /** The last step at which a racer is somewhere. */
  lastOf(racer, step) {
    while (step > 0 && !(Number.isFinite(this.at(step, racer, X)) && Number.isFinite(this.at(step, racer, Y)))) step--;
    return step;
  }
}

/** Give a canvas the pixels that its size on the screen has; return its context and size, in CSS pixels. */
function fitted(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(canvas.clientWidth, 1), height = Math.max(canvas.clientHeight, 1);
  const wide = Math.round(width * ratio), high = Math.round(height * ratio);
  const changed = canvas.width !== wide || canvas.height !== high;
  if (changed) Object.assign(canvas, { width: wide, height: high });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height, ratio, changed };
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((one) => one * power >= rough) * power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(+(i * step).toPrecision(12));
  return found;
}

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";

/** The mark of a racer: a shape of its own, for eyes to which colours look alike. */
export function mark(context, index, x, y, size) {
  context.beginPath();
  const sides = [0, 4, 3, 5, 6, 4, 3, 0][index % 8], turn = [0, 0.785, -1.571, -1.571, 0, 0, 1.571, 0][index % 8];
  if (!sides) context.arc(x, y, size * 0.9, 0, 7);
  for (let i = 0; i < sides; i++) {
    const angle = turn + (i * 2 * Math.PI) / sides, far = size * (sides === 3 ? 1.3 : 1.15);
    context.lineTo(x + far * Math.cos(angle), y + far * Math.sin(angle));
  }
  context.closePath();
}

/** A surface, seen from above or from the side, and the paths over it. */
export class Picture {
  constructor(canvas, onPick) {
    this.canvas = canvas;
    this.solid = false; // seen from the side
    this.turning = false;
    this.moments = true;
    this.yaw = 0.7;
    this.pitch = 0.95;
    this.base = document.createElement("canvas");
    this.paths = document.createElement("canvas");
    this.drawn = 0;
    this.stale = true;
    this.surface = null;
    let grabbed = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.surface || event.button) return;
      canvas.setPointerCapture(event.pointerId);
      grabbed = { x: event.offsetX, y: event.offsetY, yaw: this.yaw, pitch: this.pitch };
      if (!this.solid) onPick?.(...this.pointAt(event.offsetX, event.offsetY));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (grabbed && this.solid) {
        this.turning = false;
        this.turn(grabbed.yaw + (event.offsetX - grabbed.x) * 0.01, grabbed.pitch - (event.offsetY - grabbed.y) * 0.006);
      }
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (grabbed = null));
    canvas.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!way || !this.surface) return;
      event.preventDefault();
      event.stopPropagation();
      if (this.solid) return this.turn(this.yaw + way[0] * 0.08, this.pitch + way[1] * 0.05);
      const { xlim, ylim } = this.surface;
      onPick?.(this.start[0] + (way[0] * (xlim[1] - xlim[0])) / 80, this.start[1] + (way[1] * (ylim[1] - ylim[0])) / 80);
    });
  }

  turn(yaw, pitch) {
    this.yaw = yaw;
    this.pitch = Math.min(1.45, Math.max(0.3, pitch));
    this.stale = true;
  }

  setSurface(surface, heights, start) {
    const same = this.surface && this.surface.text === surface.text && String(this.surface.xlim) === String(surface.xlim);
    this.start = start;
    this.surface = surface;
    this.points = surface.points;
    if (!same || !this.levels) this.measure(heights);
    this.stale = !same || this.stale;
    this.drawn = 0;
    this.fresh = true;
  }

  /** Heights as levels from 0 to 1, in equal ratios above the lowest, which shows a ravine; NaN where there is none. */
  measure(heights) {
    let low = Infinity, high = -Infinity;
    for (const z of heights) if (Number.isFinite(z)) (low = Math.min(low, z)), (high = Math.max(high, z));
    if (this.surface.floor !== null) low = Math.min(low, this.surface.floor);
    this.low = low;
    this.span = high - low || 1;
    this.levels = Float32Array.from(heights, (z) => this.level(z));
    this.rises = Float32Array.from(heights, (z) => this.rise(z));
  }

  level(z) {
    if (!Number.isFinite(z)) return NaN;
    return Math.max(0, Math.min(1, 1 + Math.log10(Math.max((z - this.low) / this.span, 1e-30)) / DECADES));
  }

  rise(z) {
    return Number.isFinite(z) ? Math.min(1, Math.max(0, (z - this.low) / this.span)) ** 0.4 : NaN;
  }

  box(width, height) {
    return { left: 38, top: 8, wide: Math.max(width - 46, 1), high: Math.max(height - 32, 1) };
  }

  place(x, y) {
    const { xlim, ylim } = this.surface, { left, top, wide, high } = this.frame;
    return [left + ((x - xlim[0]) / (xlim[1] - xlim[0])) * wide, top + ((ylim[1] - y) / (ylim[1] - ylim[0])) * high];
  }

  pointAt(px, py) {
    const { xlim, ylim } = this.surface, { left, top, wide, high } = this.frame;
    const share = (value) => Math.min(1, Math.max(0, value));
    return [
      xlim[0] + share((px - left) / wide) * (xlim[1] - xlim[0]), ylim[1] - share((py - top) / high) * (ylim[1] - ylim[0]),
    ];
  }

  /** Where a point of the surface is in the view from the side; u, v from 0 to 1, h its height. */
  project(u, v, h) {
    const x = u - 0.5, y = v - 0.5, c = Math.cos(this.yaw), s = Math.sin(this.yaw);
    const across = x * c - y * s, deep = x * s + y * c;
    const { wide, high, left, top } = this.frame, scale = Math.min(wide / 1.45, high / 1.56);
    return [
      left + wide / 2 + across * scale,
      top + high * 0.51 - (deep * Math.sin(this.pitch) * 0.8 + (h - 0.4) * Math.cos(this.pitch) * 0.9) * scale, deep,
    ];
  }

  seen(x, y, loss) {
    if (!this.solid) return this.place(x, y);
    const { xlim, ylim } = this.surface;
    return this.project((x - xlim[0]) / (xlim[1] - xlim[0]), (y - ylim[0]) / (ylim[1] - ylim[0]), this.rise(loss) + 0.012);
  }

  inside(x, y) {
    const { xlim, ylim } = this.surface;
    return x >= xlim[0] && x <= xlim[1] && y >= ylim[0] && y <= ylim[1];
  }

  draw(track, racers, step) {
    const { context, width, height, ratio, changed } = fitted(this.canvas);
    const theme = themeNow();
    if (!this.surface || !this.levels) return;
    if (this.turning && this.solid) this.turn(this.yaw + 0.006, this.pitch);
    this.frame = this.box(width, height);
    if (changed || this.stale || theme !== this.theme) {
      this.theme = theme;
      for (const layer of [this.base, this.paths]) Object.assign(layer, { width: this.canvas.width, height: this.canvas.height });
      const base = this.base.getContext("2d");
      base.setTransform(ratio, 0, 0, ratio, 0, 0);
      this.solid ? this.drawMesh(base) : this.drawMap(base, ratio);
      this.stale = false;
      this.drawn = 0;
      this.fresh = true;
    }
    if (step < this.drawn || this.fresh) {
      this.paths.getContext("2d").clearRect(0, 0, this.paths.width, this.paths.height);
      this.drawn = 0;
      this.fresh = false;
    }
    const paths = this.paths.getContext("2d");
    paths.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.clipped(paths, () => racers.forEach((_, i) => this.drawPath(paths, track, i, step)));
    this.drawn = step;
    context.clearRect(0, 0, width, height);
    context.drawImage(this.base, 0, 0, width, height);
    context.drawImage(this.paths, 0, 0, width, height);
    this.drawMarks(context);
    racers.forEach((racer, i) => this.drawHead(context, track, racer, i, step));
  }

  clipped(context, work) {
    const { left, top, wide, high } = this.frame;
    context.save();
    if (!this.solid) {
      context.beginPath();
      context.rect(left, top, wide, high);
      context.clip();
    }
    work();
    context.restore();
  }

  colour(level, light = 1) {
    const { low, high } = this.theme;
    const share = (Math.ceil(level * BANDS) / BANDS) ** 1.8;
    return low.map((from, i) => Math.round(Math.min(255, (from + (high[i] - from) * share) * light)));
  }

  drawMap(context, ratio) {
    const { left, top, wide, high } = this.frame, n = this.points;
    const w = Math.round(wide * ratio), h = Math.round(high * ratio);
    const image = context.createImageData(w, h), pixels = new Uint32Array(image.data.buffer);
    const shades = Array.from({ length: BANDS + 1 }, (_, i) => this.colour(i / BANDS));
    const packed = shades.map(([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r);
    for (let row = 0; row < h; row++) {
      const v = (1 - (row + 0.5) / h) * (n - 1), j = Math.min(n - 2, Math.floor(v)), fv = v - j;
      for (let column = 0; column < w; column++) {
        const u = ((column + 0.5) / w) * (n - 1), i = Math.min(n - 2, Math.floor(u)), fu = u - i, at = j * n + i;
        const below = this.levels[at] * (1 - fu) + this.levels[at + 1] * fu;
        const above = this.levels[at + n] * (1 - fu) + this.levels[at + n + 1] * fu;
        const level = below * (1 - fv) + above * fv;
        pixels[row * w + column] = level >= 0 ? packed[Math.ceil(level * BANDS)] : 0;
      }
    }
    context.putImageData(image, Math.round(left * ratio), Math.round(top * ratio));
    this.drawContours(context);
    this.drawAxes(context);
  }

  drawContours(context) {
    const n = this.points, { left, top, wide, high } = this.frame, levels = this.levels;
    const px = (i) => left + (i / (n - 1)) * wide, py = (j) => top + (1 - j / (n - 1)) * high;
    context.beginPath();
    for (let j = 0; j < n - 1; j++) {
      for (let i = 0; i < n - 1; i++) {
        const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
        const values = corners.map(([a, b]) => levels[b * n + a] * BANDS);
        const lowest = Math.min(...values), highest = Math.max(...values);
        for (let band = Math.floor(lowest) + 1; band <= highest && band < BANDS; band++) {
          const cuts = [];
          for (let k = 0; k < 4; k++) {
            const a = values[k], b = values[(k + 1) % 4];
            if (a < band === b < band) continue;
            const t = (band - a) / (b - a), from = corners[k], to = corners[(k + 1) % 4];
            cuts.push([px(from[0] + t * (to[0] - from[0])), py(from[1] + t * (to[1] - from[1]))]);
          }
          for (let k = 0; k + 1 < cuts.length; k += 2) context.moveTo(...cuts[k]), context.lineTo(...cuts[k + 1]);
        }
      }
    }
    context.strokeStyle = this.theme.contour;
    context.lineWidth = 0.8;
    context.stroke();
  }

  drawAxes(context) {
    const { left, top, wide, high } = this.frame, { xlim, ylim } = this.surface;
    context.font = `11px ${FONT}`;
    context.fillStyle = this.theme.soft;
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const x of ticks(...xlim, Math.max(2, wide / 80))) context.fillText(said(x), this.place(x, 0)[0], top + high + 6);
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const y of ticks(...ylim, Math.max(2, high / 60))) context.fillText(said(y), left - 6, this.place(0, y)[1]);
    context.strokeStyle = this.theme.line;
    context.lineWidth = 1;
    context.strokeRect(left + 0.5, top + 0.5, wide - 1, high - 1);
  }

  drawMesh(context) {
    const { levels, rises, points } = this, cells = MESH, spots = [];
    for (let j = 0; j <= cells; j++) {
      for (let i = 0; i <= cells; i++) {
        const at = Math.round((j / cells) * (points - 1)) * points + Math.round((i / cells) * (points - 1));
        spots.push([...this.project(i / cells, j / cells, rises[at]), levels[at], rises[at]]);
      }
    }
    const faces = [];
    for (let j = 0; j < cells; j++) {
      for (let i = 0; i < cells; i++) {
        const at = j * (cells + 1) + i, four = [spots[at], spots[at + 1], spots[at + cells + 2], spots[at + cells + 1]];
        if (!four.every((spot) => spot[3] >= 0)) continue;
        const slope = (four[1][4] - four[0][4]) * 6 - (four[3][4] - four[0][4]) * 4;
        faces.push([four[0][2] + four[2][2], four, 1 + Math.max(-0.22, Math.min(0.2, slope))]);
      }
    }
    faces.sort((a, b) => b[0] - a[0]);
    context.lineWidth = 0.5;
    for (const [, four, light] of faces) {
      context.beginPath();
      for (const [x, y] of four) context.lineTo(x, y);
      context.closePath();
      const shade = `rgb(${this.colour((four[0][3] + four[2][3]) / 2, light)})`;
      context.fillStyle = context.strokeStyle = shade;
      context.fill();
      context.stroke();
      context.strokeStyle = this.theme.contour;
      context.stroke();
    }
  }

  drawPath(context, track, racer, step) {
    const first = Math.max(0, this.drawn - 1), stride = this.solid ? Math.max(1, Math.ceil((step - first) / 1500)) : 1;
    for (const [colour, thick] of [[this.theme.rim, 3.4], [this.theme.racers[racer % 8], 1.8]]) {
      context.beginPath();
      let pen = false;
      for (let k = first; k <= step; k += stride) {
        const x = track.at(k, racer, X), y = track.at(k, racer, Y);
        const there = Number.isFinite(x) && Number.isFinite(y) && (!this.solid || this.inside(x, y));
        if (there) {
          const [px, py] = this.seen(x, y, track.at(k, racer, LOSS));
          const near = [px, py].map((value) => Math.max(-1e4, Math.min(1e4, value)));
          pen ? context.lineTo(...near) : context.moveTo(...near);
        }
        pen = there;
      }
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.lineJoin = "round";
      context.stroke();
    }
    if (this.solid) return;
    context.fillStyle = this.theme.racers[racer % 8];
    for (let k = Math.max(0, this.drawn); k <= Math.min(step, 150); k++) {
      const [px, py] = this.place(track.at(k, racer, X), track.at(k, racer, Y));
      context.beginPath();
      context.arc(px, py, 2.3, 0, 7);
      context.fill();
    }
  }

  drawMarks(context) {
    const star = (x, y, size) => {
      context.beginPath();
      for (let i = 0; i < 10; i++) {
        const angle = -Math.PI / 2 + (i * Math.PI) / 5, far = i % 2 ? size * 0.45 : size;
        context.lineTo(x + far * Math.cos(angle), y + far * Math.sin(angle));
      }
      context.closePath();
    };
    context.lineWidth = 1.5;
    for (const [x, y] of this.surface.minima) {
      star(...this.seen(x, y, this.surface.floor), 7);
      context.fillStyle = this.theme.ink;
      context.strokeStyle = this.theme.paper;
      context.stroke();
      context.fill();
    }
  }

  drawHead(context, track, racer, index, step) {
    const last = track.lastOf(index, step), x = track.at(last, index, X), y = track.at(last, index, Y);
    const { left, top, wide, high } = this.frame, colour = this.theme.racers[index % 8];
    const away = !this.inside(x, y);
    let [px, py] = this.seen(x, y, track.at(last, index, LOSS));
    if (away && this.solid) return;
    if (away) {
      const [cx, cy] = [left + wide / 2, top + high / 2], dx = px - cx, dy = py - cy;
      const scale = Math.min((wide / 2 - 14) / Math.abs(dx || 1e-9), (high / 2 - 14) / Math.abs(dy || 1e-9));
      px = cx + dx * scale;
      py = cy + dy * scale;
      const size = Math.hypot(dx, dy);
      this.arrow(context, px, py, dx / size, dy / size, 12, colour);
    } else if (this.moments && !this.solid) {
      this.drawMoments(context, track, index, last, px, py, colour);
    }
    mark(context, index, px, py, 6);
    context.fillStyle = colour;
    context.strokeStyle = this.theme.paper;
    context.lineWidth = 2;
    context.stroke();
    context.fill();
    if (step > 0 && (away || track.lastOf(index, step) < step)) this.note(context, px, py, racer.ended ? "diverged" : "left the map");
  }

  note(context, x, y, text) {
    const { left, wide } = this.frame, right = x > left + wide * 0.6;
    context.font = `600 11px ${FONT}`;
    context.textAlign = right ? "right" : "left";
    context.textBaseline = "middle";
    context.lineWidth = 4;
    context.strokeStyle = this.theme.paper;
    context.strokeText(text, x + (right ? -14 : 14), y);
    context.fillStyle = this.theme.ink;
    context.fillText(text, x + (right ? -14 : 14), y);
  }

  /** The average of gradients as an arrow downhill, the roots of the average of their squares as an ellipse. */
  drawMoments(context, track, index, step, px, py, colour) {
    const [mx, my, vx, vy] = [M, M + 1, V, V + 1].map((field) => track.at(step, index, field));
    context.strokeStyle = colour;
    context.lineWidth = 1.4;
    if (vx >= 0 && vy >= 0 && vx + vy > 0) {
      const a = Math.sqrt(vx), b = Math.sqrt(vy), scale = 26 / Math.max(a, b);
      context.beginPath();
      context.ellipse(px, py, Math.max(2, a * scale), Math.max(2, b * scale), 0, 0, 7);
      context.globalAlpha = 0.16;
      context.fillStyle = colour;
      context.fill();
      context.globalAlpha = 0.9;
      context.stroke();
      context.globalAlpha = 1;
    }
    const size = Math.hypot(mx, my);
    if (size > 0 && Number.isFinite(size)) this.arrow(context, px - (mx / size) * 30, py + (my / size) * 30, -mx / size, my / size, 30, colour);
  }

  arrow(context, x, y, dx, dy, length, colour) {
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x - dx * length, y - dy * length);
    context.lineTo(x, y);
    context.moveTo(x - dx * 6 - dy * 4, y - dy * 6 + dx * 4);
    context.lineTo(x, y);
    context.lineTo(x - dx * 6 + dy * 4, y - dy * 6 - dx * 4);
    context.stroke();
  }
}

/** Numbers against steps, a line for each racer. */
export class Chart {
  constructor(canvas, field, log, onHover) {
    Object.assign(this, { canvas, field, log, floor: 0 });
    canvas.addEventListener("pointermove", (event) => onHover?.(this.stepAt(event.offsetX)));
    canvas.addEventListener("pointerleave", () => onHover?.(null));
  }

  /** What a line is drawn of: on the logarithmic scale what is above the floor, so that a loss may be negative. */
  value(track, step, racer) {
    return track.at(step, racer, this.field) - (this.log ? this.floor : 0);
  }

  stepAt(px) {
    if (!this.frame) return null;
    const { left, wide, steps } = this.frame;
    return Math.max(0, Math.round(((px - left) / wide) * steps));
  }

  draw(track, racers, step, total, hover) {
    const { context, width, height } = fitted(this.canvas), theme = themeNow();
    const left = 46, top = 8, wide = Math.max(1, width - 56), high = Math.max(1, height - 30);
    const steps = total ? Math.min(total, [40, 100, 200, 400, 1000, 2000, 4000, 10000, 20000].find((one) => one >= step) || total) : Math.max(1, track.stepOf(step));
    this.frame = { left, wide, steps };
    context.clearRect(0, 0, width, height);
    const stride = Math.max(1, Math.ceil(step / (wide * 1.5)));
    const [low, high_] = this.range(track, racers, step, stride);
    const to = this.log ? Math.log10 : (value) => value;
    const bottom = to(low), span = to(high_) - bottom || 1;
    const at = track.stepOf ? (k) => track.stepOf(k) : (k) => k; // rows of a watched training are not one a step
    const px = (k) => left + (k / steps) * wide, py = (value) => top + high - ((to(value) - bottom) / span) * high;
    this.drawGrid(context, theme, { low, high_, left, top, wide, high, steps, px, py });
    context.save();
    context.beginPath();
    context.rect(left, top - 4, wide + 4, high + 8);
    context.clip();
    racers.forEach((racer, i) => {
      context.beginPath();
      let pen = false;
      for (let k = 0; k <= step; k = k === step ? k + 1 : Math.min(step, k + stride)) {
        const value = this.value(track, k, i), there = Number.isFinite(value) && (!this.log || value > 0);
        if (there) pen ? context.lineTo(px(at(k)), Math.max(-1e4, Math.min(1e4, py(value)))) : context.moveTo(px(at(k)), py(value));
        pen = there;
      }
      context.strokeStyle = theme.racers[i % 8];
      context.setLineDash(DASHES[i % 8]);
      context.lineWidth = 1.8;
      context.lineJoin = "round";
      context.stroke();
    });
    context.restore();
    if (hover !== null && hover <= step) {
      context.strokeStyle = theme.soft;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(px(hover), top);
      context.lineTo(px(hover), top + high);
      context.stroke();
    }
  }

  range(track, racers, step, stride) {
    let low = Infinity, high = -Infinity;
    for (let k = 0; k <= step; k += stride) {
      for (let i = 0; i < racers.length; i++) {
        const value = this.value(track, k, i);
        if (!Number.isFinite(value) || (this.log && value <= 0)) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
    if (!(high >= low)) return this.log ? [0.1, 1] : [0, 1];
    if (this.log) {
      low = Math.max(low, high * 1e-14, 1e-37);
      return low === high ? [low / 3, high * 3] : [low / 1.3, high * 1.3];
    }
    if (this.field !== LOSS) low = Math.min(low, 0);
    const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
    return [low === 0 ? 0 : low - room, high + room];
  }

  drawGrid(context, theme, { low, high_, left, top, wide, high, steps, px, py }) {
    context.font = `11px ${FONT}`;
    context.strokeStyle = theme.line;
    context.lineWidth = 1;
    context.fillStyle = theme.soft;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.beginPath();
    for (const value of this.log ? this.decades(low, high_, high) : ticks(low, high_, Math.max(2, high / 34))) {
      const y = Math.round(py(value)) + 0.5;
      context.moveTo(left, y);
      context.lineTo(left + wide, y);
      context.fillText(said(value), left - 6, y);
    }
    context.stroke();
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const k of ticks(0, steps, Math.max(2, wide / 90))) {
      const text = this.xOf ? this.xOf(k) : k.toLocaleString("en"), half = context.measureText(text).width / 2;
      context.fillText(text, Math.min(px(k), left + wide + 9 - half), top + high + 7); // all of it is to be seen
    }
  }

  decades(low, high, room) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    const each = Math.max(1, Math.ceil((last - first + 1) / Math.max(2, room / 26)));
    const found = [];
    for (let power = last; power >= first; power -= each) found.push(10 ** power);
    return found.length > 1 ? found : ticks(low, high, 3).filter((value) => value > 0);
  }
}
