// The page of data: an estimator on the server learns a mini-batch at a time; what it makes of the data is drawn here.

import { said } from "./canvas.js";
import { Chart } from "./chart.js";
import { controlRows } from "./controls.js";
import { drawStudy, scoreOf } from "./study.js";
import { copy, download, savePng, saveGif } from "./take.js";
import { toast } from "./toast.js";

const $ = (id) => document.getElementById(id);
const COLUMNS = 5, MOST_VIEWS = 120, STEP = 0, BATCH_LOSS = 1, HELD_LOSS = 2, SCORE = 3, LR = 4;
let hello = null, study = null, data = null, seen = null, rows = [], playing = false, dirty = true, sweep = null, ended = null;
let now = {}, views = [], apart = 1; // the values as the sliders stand; some of what was seen, with its row

const socket = new WebSocket(new URL("socket?data", location.href.split("#")[0]).href.replace(/^http/, "ws"));
socket.binaryType = "arraybuffer";
const send = (what, more = {}) => socket.readyState === 1 && socket.send(JSON.stringify({ do: what, ...more }));
socket.onmessage = ({ data: message }) => {
  dirty = true;
  if (typeof message === "string") return answers[JSON.parse(message).kind]?.(JSON.parse(message));
  const numbers = new Float32Array(message);
  if (numbers[0] === 3) view(numbers.subarray(1));
  else rows.push(numbers.slice(1));
};
/** Show what the model makes of the data, and keep some of it for the exports. */
function view(numbers) {
  seen = numbers;
  if (views.length && rows.length < views.at(-1).row + apart) return;
  views.push({ row: rows.length, seen });
  if (views.length < MOST_VIEWS) return;
  views = views.filter((_, i) => i % 2 === 0);
  apart *= 2;
}
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
    [rows, views, apart, now] = [[], [], 1, study.values];
    setPlaying(false);
    if (`${study.task} ${study.rule}` !== before) sweep = null;
    if (`${study.task} ${study.rule}` !== before || !$("racers").contains(document.activeElement)) drawRacer();
    show();
  },
  changed({ values, changes }) {
    now = values;
    study.changes = changes;
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
      button.onclick = () => restart({ values: { ...now, lr: +lr.toPrecision(3) } });
      return button;
    }));
  },
  program({ text }) {
    $("source").textContent = text;
    $("program").showModal();
  },
  player: ({ text }) => download("gdfast-study.html", new Blob([text.replace("/* data */", () => recorded())], { type: "text/html" })),
  error({ text }) {
    toast(text, true);
    if (!study) return send("start", { study: { task: "line" } }); // a link that cannot be
    drawRacer(); // as it is, not as it was asked to be
    show();
  },
};

const restart = (changes, play = false) => send("start", { study: { ...study, values: now, changes: [], ...changes }, play });

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
  $("about").textContent = `${hello.tasks[study.task]} ${data.counts[0]} rows to learn from${drawn ? " (filled)" : ""}; ${data.counts[1]} held out${drawn ? " (hollow)" : ""}, to see what it makes of new ones.`;
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
  select.onchange = () => restart({ rule: select.value, values: "lr" in now ? { lr: now.lr } : {} });
  const change = (name, value) => send("set", { name, value });
  box.append(controlRows({ rule, racer: { ...study, values: now }, index: 0, schedules: hello.schedules, steps: 400, change }));
  const find = Object.assign(document.createElement("button"), { textContent: "Find a learning rate", id: "find" });
  find.onclick = () => send("find");
  box.append(find);
  $("racers").replaceChildren(box);
}

// Drawing.

const charts = [["loss", true, [BATCH_LOSS, HELD_LOSS]], ["score", false, [SCORE]], ["lr", false, [LR]]].map(([id, log, columns]) => ({
  chart: new Chart($(id), 0, log), columns, track: { stepOf: (k) => rows[k][STEP], at: (k, i) => rows[k][columns[i]] } }));
const sweepChart = new Chart($("sweep"), 0, true);

function frame() {
  if (dirty && study) {
    dirty = false;
    drawStudy($("view"), data, seen);
    for (const { chart, columns, track } of charts) if (rows.length) chart.draw(track, columns, rows.length - 1, 0, null);
    if (sweep) drawSweep();
    const last = rows[rows.length - 1];
    $("count").textContent = last ? `step ${last[STEP].toLocaleString("en")}: ${scoreOf(study.task, last[SCORE])}` : "step 0";
  }
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

function drawSweep() {
  const { lrs, losses } = sweep, low = Math.log10(lrs[0]);
  sweepChart.xOf = (value) => said(value + low);
  sweepChart.draw({ stepOf: (k) => Math.log10(lrs[k]) - low, at: (k) => losses[k] }, [0], lrs.length - 1, 0, null);
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

// Taking away.

$("link").onclick = async () => {
  const link = `${location.href.split("#")[0]}#study=${toLink()}`;
  history.replaceState(null, "", link);
  await copy(link, "Copied: the part after # is the study, and opens in any lab.");
};
$("code").onclick = () => send("program");
$("copy").onclick = () => copy($("source").textContent, "Copied.");
$("close").onclick = () => $("program").close();
$("save-png").onclick = () => savePng("gdfast-study.png", $("view"), charts.map(({ chart }) => chart.canvas));
$("save-gif").onclick = async () => {
  toast("Drawing the animation…");
  const kept = shown();
  await saveGif("gdfast-study.gif", $("view"), kept.length - 1, (i) => drawStudy($("view"), data, kept[i].seen));
  dirty = true;
};
$("save-html").onclick = () => send("export");
$("theme").onclick = () => {
  const themes = ["", "light", "dark"], theme = document.documentElement.dataset.theme || "";
  document.documentElement.dataset.theme = themes[(themes.indexOf(theme) + 1) % 3];
  dirty = true;
};

/** What was seen, from before the first step to now. */
const shown = () => [{ row: 0, seen: null }, ...views.filter((one) => one.row < rows.length || one.seen !== seen), ...(seen ? [{ row: rows.length, seen }] : [])];

/** What a page needs to play it, as JSON that cannot end a script. */
function recorded() {
  const encoded = (numbers) => {
    let text = "";
    const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return btoa(text);
  };
  const every = new Float32Array(rows.length * COLUMNS);
  rows.forEach((row, i) => every.set(row, i * COLUMNS));
  const kept = shown().map((one) => ({ row: one.row, seen: one.seen && encoded(one.seen.slice()) }));
  return JSON.stringify({ data: { ...data, study }, rows: encoded(every), views: kept, about: $("about").textContent.replace(" Click to add points.", ""), ended }).replace(/</g, "\\u003c");
}

addEventListener("resize", () => (dirty = true));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (dirty = true));

addEventListener("hashchange", () => {
  const shared = fromLink();
  if (shared) send("start", { study: shared });
});

window.studied = { get study() { return study; }, get rows() { return rows.map((row) => Array.from(row)); }, get seen() { return seen && Array.from(seen); }, get playing() { return playing; }, get ended() { return ended; } };
