// A map or a turning view of a surface, with paths over it.

import { FONT, LOSS, M, V, X, Y, fitted, mark, said, themeNow, ticks } from "./canvas.js";

const BANDS = 22, DECADES = 4.5, MESH = 52;

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
