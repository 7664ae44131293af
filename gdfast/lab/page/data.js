// The page of data: an estimator on the server learns a mini-batch at a time; what it makes of the data is drawn here.

import { said, themeNow } from "./canvas.js";
import { Chart } from "./chart.js";
import { controlRows } from "./controls.js";

const $ = (id) => document.getElementById(id);
const COLUMNS = 5, FIELD = 48, STEP = 0, BATCH_LOSS = 1, HELD_LOSS = 2, SCORE = 3, LR = 4;
let hello = null, study = null, data = null, seen = null, rows = [], playing = false, dirty = true, sweep = null, ended = null;

const socket = new WebSocket(new URL("socket?data", location.href.split("#")[0]).href.replace(/^http/, "ws"));
socket.binaryType = "arraybuffer";
const send = (what, more = {}) => socket.readyState === 1 && socket.send(JSON.stringify({ do: what, ...more }));
socket.onmessage = ({ data: message }) => {
  dirty = true;
  if (typeof message === "string") return answers[JSON.parse(message).kind]?.(JSON.parse(message));
  const numbers = new Float32Array(message);
  if (numbers[0] === 3) seen = numbers.subarray(1);
  else rows.push(numbers.slice(1));
};
socket.onclose = ({ reason }) => (setPlaying(false), toast(reason || "The lab has ended. Start it again with: gdfast lab", true, 1e9));

const answers = {
  hello(message) {
    hello = message;
    document.querySelector("main").inert = false;
    setSpeed(20);
    send("start", { study: fromLink() || { task: "line" } });
  },
  study(message) {
    const before = study && `${study.task} ${study.rule}`;
    study = message.study;
    data = message;
    seen = ended = null;
    rows = [];
    setPlaying(false);
    if (`${study.task} ${study.rule}` !== before) sweep = null;
    if (`${study.task} ${study.rule}` !== before || !$("racers").contains(document.activeElement)) drawRacer();
    show();
  },
  changed({ values }) {
    study.values = values;
    remember();
  },
  ended({ text }) {
    ended = text;
    setPlaying(false);
    show();
  },
  paused: () => setPlaying(false),
  found(message) {
    sweep = message;
    $("sweep-box").hidden = false;
    $("suggestions").replaceChildren(...Object.entries(message.suggestions).map(([name, lr]) => {
      const button = Object.assign(document.createElement("button"), { textContent: `${name}: ${said(lr)}` });
      button.onclick = () => restart({ values: { ...study.values, lr: +lr.toPrecision(3) } });
      return button;
    }));
  },
  error: ({ text }) => toast(text, true),
};

const restart = (changes, play = false) => send("start", { study: { ...study, ...changes }, play });

function toLink() {
  return encodeURIComponent(JSON.stringify(study));
}
function fromLink() {
  try {
    return JSON.parse(decodeURIComponent(location.hash.match(/^#study=(.+)$/)?.[1] || "null"));
  } catch {
    toast("This link is damaged: a part of it is missing.", true);
    return null;
  }
}
let remembering = 0;
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => history.replaceState(null, "", `#study=${toLink()}`), 300);
}

function show() {
  const drawn = study.task === "line" || study.task === "classes";
  $("about").textContent = `${hello.tasks[study.task]} ${data.counts[0]} rows to learn from, ${data.counts[1]} held out.`;
  for (const id of ["task", "batch", "noise", "hidden", "seed"]) if (document.activeElement !== $(id)) $(id).value = study[id];
  $("noise-name").textContent = study.task === "line" ? "Noise of the points" : "Share of wrong labels";
  $("noise-said").textContent = said(study.noise);
  $("hidden-box").hidden = study.task === "line" || study.task === "words";
  $("drawing").hidden = !drawn;
  $("class-box").hidden = study.task !== "classes";
  $("score-name").textContent = study.task === "line" ? "Held-out rows: R²" : "Held-out rows: share that is right";
  $("sweep-box").hidden = !sweep;
  const notes = ended ? [Object.assign(document.createElement("li"), { textContent: ended })] : [];
  $("notes").replaceChildren(...notes);
  remember();
}

function drawRacer() {
  const rule = hello.rules.find((one) => one.rule === study.rule), box = document.createElement("section");
  box.className = "racer";
  box.title = rule.about;
  box.innerHTML = `<header><select aria-label="Optimizer"></select></header>`;
  const select = box.querySelector("select");
  select.append(...hello.rules.map((one) => Object.assign(document.createElement("option"), { value: one.rule, textContent: one.rule })));
  select.value = study.rule;
  select.onchange = () => restart({ rule: select.value, values: "lr" in study.values ? { lr: study.values.lr } : {} });
  const change = (name, value) => send("set", { name, value });
  box.append(controlRows({ rule, racer: study, index: 0, schedules: hello.schedules, steps: 400, change }));
  const find = Object.assign(document.createElement("button"), { textContent: "Find a learning rate", id: "find" });
  find.onclick = () => send("find");
  box.append(find);
  $("racers").replaceChildren(box);
}

let toasting = 0;
function toast(text, bad = false, long = 5000) {
  $("toast").textContent = text;
  $("toast").className = bad ? "shown bad" : "shown";
  clearTimeout(toasting);
  toasting = setTimeout(() => ($("toast").className = ""), long);
}

// Drawing.

const charts = [["loss", true, [BATCH_LOSS, HELD_LOSS]], ["score", false, [SCORE]], ["lr", false, [LR]]].map(([id, log, columns]) => ({
  chart: new Chart($(id), 0, log), columns, track: { stepOf: (k) => rows[k][STEP], at: (k, i) => rows[k][columns[i]] } }));
const sweepChart = new Chart($("sweep"), 0, true);

function frame() {
  if (dirty && study) {
    dirty = false;
    drawView();
    for (const { chart, columns, track } of charts) if (rows.length) chart.draw(track, columns, rows.length - 1, 0, null);
    if (sweep) drawSweep();
    const last = rows[rows.length - 1];
    $("count").textContent = last ? `step ${last[STEP].toLocaleString("en")}  held out ${said(last[SCORE])}` : "step 0";
  }
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

function drawSweep() {
  const { lrs, losses } = sweep, low = Math.log10(lrs[0]);
  sweepChart.xOf = (value) => said(value + low);
  sweepChart.draw({ stepOf: (k) => Math.log10(lrs[k]) - low, at: (k) => losses[k] }, [0], lrs.length - 1, 0, null);
}

function drawView() {
  const canvas = $("view"), ratio = Math.min(devicePixelRatio || 1, 2), width = canvas.clientWidth, height = canvas.clientHeight;
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  const context = canvas.getContext("2d"), theme = themeNow();
  context.scale(ratio, ratio);
  ({ line: drawLine, classes: drawClasses, words: drawWords, digits: drawDigits })[study.task](context, width, height, theme);
}

const place = (x, y, width, height) => [((x + 1) / 2) * (width - 20) + 10, ((1 - y) / 2) * (height - 20) + 10];

function drawLine(context, width, height, theme) {
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

function drawClasses(context, width, height, theme) {
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
    drawBoundary(context, width, height, theme);
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
function drawBoundary(context, width, height, theme) {
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

function drawWords(context, width, height, theme) {
  const words = data.still.words, weights = seen || new Float32Array(words.length);
  const order = [...words.keys()].sort((a, b) => weights[b] - weights[a]), columns = width > 620 ? 2 : 1;
  const shown = columns * Math.floor((height - 34) / 17), half = Math.floor(Math.min(shown, words.length) / 2);
  const chosen = [...order.slice(0, half), ...order.slice(-half)], most = Math.max(...chosen.map((i) => Math.abs(weights[i])), 1e-3);
  const each = Math.ceil(chosen.length / columns), wide = width / columns;
  context.font = "13px system-ui, sans-serif";
  context.fillStyle = theme.soft;
  context.textAlign = "left";
  context.fillText("right: speaks for an unwanted message; left: against", 12, 16);
  chosen.forEach((word, k) => {
    const y = 36 + (k % each) * 17, left = Math.floor(k / each) * wide, middle = left + 90 + (wide - 110) / 2, size = (weights[word] / most) * ((wide - 120) / 2);
    context.fillStyle = theme.ink;
    context.textAlign = "right";
    context.fillText(words[word], left + 84, y + 4);
    context.fillStyle = theme.racers[size < 0 ? 0 : 1];
    context.fillRect(Math.min(middle, middle + size), y - 5, Math.max(1, Math.abs(size)), 11);
  });
}

function drawDigits(context, width, height, theme) {
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
    context.fillText(`${wrong ? "✗" : "✓"} ${read} ${Math.round(share * 100)} %`, x, y + size + 3);
  });
}

// Steering.

const speedNow = () => hello.limits.speed ** (+$("speed").value / 100);
function setSpeed(speed) {
  $("speed").value = (Math.log(speed) / Math.log(hello.limits.speed)) * 100;
  $("speed-said").textContent = `${said(speedNow())} steps/s`;
}
function setPlaying(on) {
  playing = on;
  $("play").textContent = on ? "Pause" : "Play";
}
$("play").onclick = () => (playing ? (send("pause"), setPlaying(false)) : (send("play", { speed: speedNow() }), setPlaying(!ended)));
$("step").onclick = () => (setPlaying(false), send("step"));
$("back").onclick = () => restart({});
$("speed").oninput = () => (setSpeed(speedNow()), playing && send("play", { speed: speedNow() }));
$("task").onchange = () => send("start", { study: { task: $("task").value } });
for (const id of ["batch", "hidden", "seed"]) $(id).onchange = () => restart({ [id]: +$(id).value });
$("noise").oninput = () => ($("noise-said").textContent = said(+$("noise").value));
$("noise").onchange = () => restart({ noise: +$("noise").value });
$("clear").onclick = () => restart({ points: study.task === "line" ? [[-0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 0]] : [[-0.5, 0, 0], [0.5, 0, 1], [-0.5, 0.3, 0], [0.5, 0.3, 1]] });
$("view").addEventListener("pointerdown", (event) => {
  if (study.task !== "line" && study.task !== "classes") return;
  const { clientWidth, clientHeight } = $("view"), near = (value) => +Math.max(-1, Math.min(1, value)).toFixed(3);
  const x = near(((event.offsetX - 10) / (clientWidth - 20)) * 2 - 1), y = near(1 - ((event.offsetY - 10) / (clientHeight - 20)) * 2);
  restart({ points: [...study.points, [x, y, study.task === "classes" && ($("second").checked || event.shiftKey) ? 1 : 0]] }, playing);
});
$("link").onclick = async () => {
  const link = `${location.href.split("#")[0]}#study=${toLink()}`;
  history.replaceState(null, "", link);
  try {
    await navigator.clipboard.writeText(link);
    toast("Copied.");
  } catch {
    toast("The browser does not allow copying; the address bar has the link.", true);
  }
};
addEventListener("resize", () => (dirty = true));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (dirty = true));

window.studied = { get study() { return study; }, get rows() { return rows.map((row) => Array.from(row)); }, get seen() { return seen && Array.from(seen); }, get playing() { return playing; }, get ended() { return ended; } };
