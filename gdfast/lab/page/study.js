// What an estimator makes of its data, as numbers of the server: a line, two classes, words, digits.

import { said, themeNow } from "./canvas.js";

const FIELD = 48;

/** What the score of held-out rows says. */
export function scoreOf(task, score) {
  if (Number.isNaN(score)) return "";
  return task === "line" ? `R² of held-out rows ${said(score)}` : `${said(score * 100)} % of held-out rows right`;
}

/** Draw a study's data, and what its model makes of them; `seen` is null before its first step. */
export function drawStudy(canvas, data, seen) {
  const ratio = Math.min(devicePixelRatio || 1, 2), width = canvas.clientWidth, height = canvas.clientHeight;
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  ({ line: drawLine, classes: drawClasses, words: drawWords, digits: drawDigits })[data.study.task]({ context, width, height, theme: themeNow(), data, seen });
}

const place = (x, y, width, height) => [((x + 1) / 2) * (width - 20) + 10, ((1 - y) / 2) * (height - 20) + 10];

function drawLine({ context, width, height, theme, data, seen }) {
  context.strokeStyle = theme.line;
  context.strokeRect(9.5, 9.5, width - 19, height - 19);
  const spot = (x, y, held) => {
    context.beginPath();
    context.arc(...place(x, y, width, height), 4.5, 0, 7);
    context.strokeStyle = context.fillStyle = theme.racers[0];
    context.lineWidth = 1.5;
    held ? context.stroke() : context.fill();
  };
  for (const [x, y] of data.rows) spot(x, y, false);
  for (const [x, y] of data.held) spot(x, y, true);
  if (!seen) return;
  context.beginPath();
  seen.forEach((y, i) => context.lineTo(...place(-1 + (2 * i) / (seen.length - 1), Math.max(-9, Math.min(9, y)), width, height)));
  context.strokeStyle = theme.racers[1];
  context.lineWidth = 2.5;
  context.stroke();
}

function drawClasses({ context, width, height, theme, data, seen }) {
  const colours = [theme.racers[0], theme.racers[1]], parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  if (seen) {
    const [zero, one] = colours.map(parts), ground = parts(theme.paper), small = document.createElement("canvas");
    Object.assign(small, { width: FIELD, height: FIELD });
    const image = new ImageData(FIELD, FIELD);
    seen.forEach((share, i) => {
      const at = 4 * ((FIELD - 1 - Math.floor(i / FIELD)) * FIELD + (i % FIELD)), sure = Math.abs(share - 0.5) * 1.1;
      for (let k = 0; k < 3; k++) image.data[at + k] = ground[k] + ((share > 0.5 ? one : zero)[k] - ground[k]) * sure;
      image.data[at + 3] = 255;
    });
    small.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = true;
    context.drawImage(small, 10, 10, width - 20, height - 20);
    drawBoundary(context, width, height, theme, seen);
  }
  context.strokeStyle = theme.line;
  context.strokeRect(9.5, 9.5, width - 19, height - 19);
  const spot = ([x, y, label], held) => {
    const [px, py] = place(x, y, width, height);
    context.beginPath();
    label ? context.rect(px - 4, py - 4, 8, 8) : context.arc(px, py, 4.5, 0, 7);
    context.fillStyle = held ? theme.paper : colours[label];
    context.strokeStyle = held ? colours[label] : theme.paper;
    context.lineWidth = held ? 2 : 1;
    context.fill();
    context.stroke();
  };
  for (const row of data.rows) spot(row, false);
  for (const row of data.held) spot(row, true);
}

/** Where both classes are equally likely. */
function drawBoundary(context, width, height, theme, seen) {
  const at = (i, j) => [-1 + (2 * i) / (FIELD - 1), -1 + (2 * j) / (FIELD - 1)];
  context.beginPath();
  for (let j = 0; j < FIELD - 1; j++) {
    for (let i = 0; i < FIELD - 1; i++) {
      const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]], values = corners.map(([a, b]) => seen[b * FIELD + a] - 0.5), cuts = [];
      for (let k = 0; k < 4; k++) {
        const a = values[k], b = values[(k + 1) % 4];
        if (a < 0 === b < 0) continue;
        const share = a / (a - b), [x0, y0] = at(...corners[k]), [x1, y1] = at(...corners[(k + 1) % 4]);
        cuts.push(place(x0 + share * (x1 - x0), y0 + share * (y1 - y0), width, height));
      }
      for (let k = 0; k + 1 < cuts.length; k += 2) context.moveTo(...cuts[k]), context.lineTo(...cuts[k + 1]);
    }
  }
  context.strokeStyle = theme.ink;
  context.lineWidth = 2;
  context.stroke();
}

function drawWords({ context, width, height, theme, data, seen }) {
  const words = data.still.words, weights = seen || new Float32Array(words.length);
  const order = [...words.keys()].sort((a, b) => weights[b] - weights[a]), columns = width > 620 ? 2 : 1;
  const shown = columns * Math.floor((height - 34) / 17), half = Math.floor(Math.min(shown, words.length) / 2);
  const chosen = [...order.slice(0, half), ...order.slice(-half)], most = Math.max(...chosen.map((i) => Math.abs(weights[i])), 1e-3);
  const each = Math.ceil(chosen.length / columns), wide = width / columns;
  context.font = "13px system-ui, sans-serif";
  context.fillStyle = theme.soft;
  context.textAlign = "left";
  context.fillText("right: unwanted; left: wanted", 12, 16);
  chosen.forEach((word, k) => {
    const y = 36 + (k % each) * 17, left = Math.floor(k / each) * wide, middle = left + 90 + (wide - 110) / 2, size = (weights[word] / most) * ((wide - 120) / 2);
    context.fillStyle = theme.ink;
    context.textAlign = "right";
    context.fillText(words[word], left + 84, y + 4);
    context.fillStyle = theme.racers[size < 0 ? 0 : 1];
    context.fillRect(Math.min(middle, middle + size), y - 5, Math.max(1, Math.abs(size)), 11);
  });
}

function drawDigits({ context, width, height, theme, data, seen }) {
  const images = data.still.images, columns = Math.max(4, Math.round(Math.sqrt((images.length * width) / height))), lines = Math.ceil(images.length / columns);
  const wide = (width - 10) / columns, high = (height - 10) / lines, size = Math.min(wide * 0.7, high - 26);
  images.forEach((image, k) => {
    const x = 5 + (k % columns) * wide, y = 5 + Math.floor(k / columns) * high, [right, read, share] = seen ? seen.subarray(3 * k, 3 * k + 3) : [];
    image.forEach((level, i) => {
      context.fillStyle = theme.ink;
      context.globalAlpha = Math.max(0.06, Math.min(1, level / 15));
      context.fillRect(x + ((i % 8) * size) / 8, y + (Math.floor(i / 8) * size) / 8, size / 8 + 0.4, size / 8 + 0.4);
    });
    context.globalAlpha = 1;
    if (read === undefined) return;
    const wrong = right !== read;
    context.font = `${wrong ? 700 : 500} 12px system-ui, sans-serif`;
    context.textAlign = "left";
    context.textBaseline = "top";
    context.fillStyle = theme.racers[wrong ? 1 : 2];
    const sure = wide < 64 ? "" : ` ${Math.round(share * 100)} %`; // where there is room
    context.fillText(`${wrong ? "✗" : "✓"} ${read}${sure}`, x, y + size + 3);
  });
}
