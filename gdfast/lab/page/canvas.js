// What all drawing shares: themes, numbers for people, frames of a race, a canvas of the right size, marks. With picture.js
// and chart.js it draws float32 numbers and knows no optimizer; nothing else is needed.

export const X = 0, Y = 1, LOSS = 2, LR = 3, MOVE = 4, SLOPE = 5, M = 6, V = 8;

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
  let text = size >= 1e5 || size < 1e-4 ? value.toExponential(digits - 1) : size >= 10 ** digits ? String(+value.toPrecision(digits)) : value.toPrecision(digits);
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
export function fitted(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(canvas.clientWidth, 1), height = Math.max(canvas.clientHeight, 1);
  const wide = Math.round(width * ratio), high = Math.round(height * ratio);
  const changed = canvas.width !== wide || canvas.height !== high;
  if (changed) Object.assign(canvas, { width: wide, height: high });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height, ratio, changed };
}

export function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((one) => one * power >= rough) * power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(+(i * step).toPrecision(12));
  return found;
}

export const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";

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
