// The curves of a training of one's own, in its page and in a notebook: rows of numbers come in and are drawn.

import { DASHES, said, themeNow } from "./canvas.js";
import { Chart } from "./chart.js";

export class Curves {
  constructor(about, box) {
    Object.assign(this, { about, rows: new Float32Array(0), count: 0, width: 0 });
    const column = (name) => about.columns.indexOf(name), named = about.names.map((name, i) => [name, i]);
    const ofArray = (what) => named.map(([name, i]) => [name, about.columns.length + i * about.of_array.length + about.of_array.indexOf(what)]);
    const curves = [
      ["Loss", [["loss", column("loss")]], true], ["Score", [["score", column("score")]], false],
      ["Learning rate", [["lr", column("lr")]], false], ["Norm of all gradients", [["norm", column("norm")]], true],
      ["Norm of each gradient", ofArray("norm"), true], ["An update's size over the array's", ofArray("update"), true],
      ["Share of units without a gradient", ofArray("dead"), false], ["Seconds a step", [["seconds", column("seconds")]], false],
    ];
    this.charts = curves.filter(([, lines]) => lines.length).map(([title, lines, log]) => {
      const figure = document.createElement("figure"), canvas = document.createElement("canvas"), key = document.createElement("ul");
      figure.append(Object.assign(document.createElement("figcaption"), { textContent: title }), canvas, key);
      key.className = "key";
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${title} against steps`);
      if (lines.length > 1) key.append(...lines.map(([name], i) => legend(name, i)));
      box.append(figure);
      const track = { stepOf: (k) => this.rows[k * this.width], at: (k, i) => this.rows[k * this.width + lines[i][1]] };
      return { figure, chart: new Chart(canvas, 0, log), lines, log, track };
    });
  }

  /** Rows as the server sends them: their kind, the first one's place, how many, how many columns, and the numbers. */
  take(message) {
    const [, first, , columns] = message, needed = first * columns + message.length - 4;
    this.width = columns;
    if (needed > this.rows.length) {
      const larger = new Float32Array(2 * needed);
      larger.set(this.rows);
      this.rows = larger;
    }
    this.rows.set(message.subarray(4), first * columns);
    this.count = needed / columns;
  }

  draw(log) {
    for (const one of this.charts) {
      one.figure.hidden = !this.has(one.lines);
      one.chart.log = one.log && log;
      if (!one.figure.hidden) one.chart.draw(one.track, one.lines, this.count - 1, 0, null);
    }
  }

  last(name) {
    return this.rows[(this.count - 1) * this.width + this.about.columns.indexOf(name)];
  }

  /** What there is to say of the last row: names and texts. */
  numbers() {
    const last = (name) => this.last(name);
    const shown = [["step", last("step").toLocaleString("en")], ["loss", said(last("loss"), 4)], ["score", said(last("score"), 4)], ["lr", said(last("lr"))],
      ["norm of gradients", said(last("norm"))], ["skipped steps", said(last("skipped"))], ["time a step", `${said(last("seconds") * 1000)} ms`]];
    return shown.filter(([, text]) => text !== "–");
  }

  /** Whether there is anything to draw. */
  has(lines) {
    for (let k = Math.max(0, this.count - 200); k < this.count; k++) if (lines.some(([, column]) => Number.isFinite(this.rows[k * this.width + column]))) return true;
    return false;
  }
}

function legend(name, i) {
  const item = document.createElement("li"), canvas = Object.assign(document.createElement("canvas"), { width: 56, height: 28 });
  item.append(canvas, name);
  const context = canvas.getContext("2d");
  context.scale(2, 2);
  context.strokeStyle = themeNow().racers[i % 8];
  context.setLineDash(DASHES[i % 8]);
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(0, 7);
  context.lineTo(28, 7);
  context.stroke();
  return item;
}
