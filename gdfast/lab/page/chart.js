// Curves of numbers against steps.

import { DASHES, FONT, LOSS, fitted, said, themeNow, ticks } from "./canvas.js";

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
