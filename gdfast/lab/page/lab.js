// The page of the lab: what a person sets is sent to the server, where the optimizers are; what comes back is drawn.

import { DASHES, LOSS, LR, MOVE, Track, mark, said, themeNow } from "./canvas.js";
import { Chart } from "./chart.js";
import { controlRows } from "./controls.js";
import { Picture } from "./picture.js";
import { copy, download, savePng, saveGif } from "./take.js";
import { toast } from "./toast.js";

const $ = (id) => document.getElementById(id);
const FIELDS = 10;
let hello = null, race = null, surface = null, track = new Track(0, FIELDS), playing = false, hover = null, dirty = true;
let ended = new Map();

// The connection.

const socket = new WebSocket(new URL("socket", location.href.split("#")[0]).href.replace(/^http/, "ws"));
socket.binaryType = "arraybuffer";
const send = (what, data = {}) => socket.readyState === 1 && socket.send(JSON.stringify({ do: what, ...data }));
socket.onmessage = ({ data }) => {
  typeof data === "string" ? answers[JSON.parse(data).kind]?.(JSON.parse(data)) : take(new Float32Array(data));
  dirty = true;
};
socket.onclose = ({ reason }) => {
  setPlaying(false);
  toast(reason || "The lab has ended. Start it again with: gdfast lab", true, 1e9);
};

function take(numbers) {
  if (numbers[0] === 0) {
    picture.setSurface(surface, numbers.subarray(2), race.start);
  } else {
    track.add(numbers[1], numbers.subarray(4));
  }
}

const answers = {
  hello(message) {
    hello = message;
    document.querySelector("main").inert = false;
    fill($("experiment"), hello.experiments.map((one, i) => [one.key, `${i + 1}. ${one.title}`]));
    fill($("surface"), [...hello.surfaces.map((one) => [one.key, one.title]), ["own", "A formula of your own…"]]);
    const shared = fromLink();
    if (!shared) return begin(hello.experiments[0]);
    showExperiment(null);
    send("start", { race: shared });
  },
  race(message) {
    answered();
    const roster = race && JSON.stringify([race.racers.map((one) => one.rule), race.steps]);
    race = message.race;
    surface = message.surface;
    track = new Track(race.racers.length, FIELDS);
    ended = new Map();
    setPlaying(false);
    if (JSON.stringify([race.racers.map((one) => one.rule), race.steps]) !== roster || !$("racers").contains(document.activeElement)) drawRacers();
    charts[0].floor = Math.min(0, surface.floor ?? 0);
    titleLoss();
    showSetup();
    showNotes();
    remember();
  },
  changed({ racer, name, changes }) {
    race.changes = changes;
    remember();
  },
  ended({ racer, step, text }) {
    ended.set(racer, { step, text });
    showNotes();
  },
  over: () => setPlaying(false),
  paused: () => setPlaying(false),
  program({ text }) {
    $("source").textContent = text;
    $("program").showModal();
  },
  file({ name, text }) {
    download(name, new Blob([text], { type: "text/html" }));
  },
  error({ text }) {
    answered();
    toast(text, true);
    if (!race) return begin(hello.experiments[0]); // a link that cannot be
    drawRacers(); // as they are, not as they were asked to be
    showSetup();
  },
};

function begin(experiment) {
  showExperiment(experiment.key);
  send("start", { race: experiment.race });
}

// The address: its part after # holds the race, and never reaches a server.

function toLink() {
  const bytes = new TextEncoder().encode(JSON.stringify(race));
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

function fromLink() {
  const text = location.hash.match(/^#race=(.+)$/)?.[1];
  if (!text) return null;
  try {
    const bytes = Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    toast("This link is damaged: a part of it is missing.", true);
    return null;
  }
}

let remembering = 0;
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => history.replaceState(null, "", `#race=${toLink()}`), 300);
}
addEventListener("hashchange", () => {
  const shared = fromLink();
  if (shared) send("start", { race: shared });
});

// What is shown.

const picture = new Picture($("picture"), (x, y) => restart({ start: [round(x), round(y)] }));
const setHover = (step) => ((hover = step !== null && step < track.length ? step : null), (dirty = true));
const charts = [["loss", LOSS, true], ["lr", LR, false], ["move", MOVE, true]].map(([id, field, log]) => new Chart($(id), field, log, setHover));
const round = (value) => +value.toPrecision(4);

function frame() {
  if (picture.turning && picture.solid) dirty = true;
  if (dirty && race && picture.levels) {
    dirty = false;
    const last = track.length - 1, at = hover ?? last;
    const racers = race.racers.map((one, i) => ({ name: one.rule, ended: ended.get(i) }));
    picture.draw(track, racers, Math.max(0, at));
    for (const chart of charts) chart.draw(track, racers, last, race.steps, hover);
    $("count").textContent = `step ${at.toLocaleString("en")} of ${race.steps.toLocaleString("en")}`;
    document.querySelectorAll(".racer").forEach((card, i) => {
      const here = track.lastOf(i, at);
      card.querySelector(".at").textContent = `x ${said(track.at(here, i, 0))}  y ${said(track.at(here, i, 1))}`;
      card.querySelector(".loss").textContent = `loss ${said(track.at(at, i, LOSS), 4)}`;
    });
    frames.push(performance.now());
    if (frames.length > 120) frames.shift();
  }
  requestAnimationFrame(frame);
}
const frames = [];
requestAnimationFrame(frame);
new ResizeObserver(() => (dirty = true)).observe($("picture"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (drawMarks(), (dirty = true)));

function fill(select, options) {
  select.replaceChildren(...options.map(([value, text]) => Object.assign(document.createElement("option"), { value, textContent: text })));
}

function showExperiment(key) {
  const one = hello.experiments.find((each) => each.key === key);
  $("guide-title").textContent = one ? one.title : "From a link";
  $("guide-text").textContent = one ? one.text : "This race was set up by somebody else. Choose an experiment to begin with your own.";
  $("set-up").hidden = !one;
  $("experiment").value = one ? key : "";
  if (one) setSpeed(one.speed);
}

let shownSurface = null;
function showSetup() {
  const own = typeof race.surface !== "string";
  $("surface").value = own ? "own" : race.surface;
  $("own").hidden = !own;
  $("surface-title").textContent = surface.title;
  $("surface-about").textContent = `${surface.about} f = ${surface.text}`;
  if (own) {
    if (race.surface !== shownSurface) {
      set("formula", race.surface.formula); // what was typed and refused stays, to be mended
      race.surface.view.forEach((value, i) => set(`view-${i}`, value));
    }
  }
  shownSurface = race.surface;
  set("start-x", race.start[0]);
  set("start-y", race.start[1]);
  set("seed", race.seed);
  set("steps", race.steps);
  $("dtype").value = race.dtype;
  set("noise", noiseScale.to(race.noise));
  $("noise-said").textContent = said(race.noise);
}

function set(id, value) {
  if (document.activeElement !== $(id)) $(id).value = value;
}

function showNotes() {
  $("notes").replaceChildren(...[...ended].map(([racer, { text }]) => {
    const item = document.createElement("li");
    item.textContent = text;
    item.style.borderColor = themeNow().racers[racer % 8];
    return item;
  }));
}

// The racers.

function drawRacers() {
  const cards = racersNow().map((racer, i) => card(racer, i));
  if (race.racers.length < hello.limits.racers) {
    const add = Object.assign(document.createElement("button"), { textContent: "+ Add a racer", id: "add" });
    add.onclick = () => restart({ racers: [...racersNow(), { rule: "Adam", values: { lr: 0.05 } }] });
    cards.push(add);
  }
  $("racers").replaceChildren(...cards);
  drawMarks();
}

function card(racer, index) {
  const rule = hello.rules.find((one) => one.rule === racer.rule);
  const box = document.createElement("section");
  box.className = "racer";
  box.setAttribute("aria-label", `Racer ${index + 1}: ${racer.rule}`);
  box.innerHTML = `<header><canvas aria-hidden="true"></canvas><select aria-label="Optimizer of racer ${index + 1}"></select>
    <button title="Remove" aria-label="Remove racer ${index + 1}">×</button></header><div class="now"><span class="at"></span><span class="loss"></span></div>`;
  const select = box.querySelector("select");
  fill(select, hello.rules.map((one) => [one.rule, one.rule]));
  select.value = racer.rule;
  box.title = rule.about;
  select.onchange = () => {
    const lr = racersNow()[index].values.lr;
    restart({ racers: racersNow().with(index, { rule: select.value, values: lr === undefined ? {} : { lr } }) });
  };
  box.querySelector("header button").onclick = () => restart({ racers: racersNow().toSpliced(index, 1) });
  const change = (name, value) => send("set", { racer: index, name, value });
  box.append(controlRows({ rule, racer, index, schedules: hello.schedules, steps: race.steps, change }));
  return box;
}

function drawMarks() {
  document.querySelectorAll(".racer header canvas").forEach((canvas, i) => {
    Object.assign(canvas, { width: 68, height: 44 });
    const context = canvas.getContext("2d");
    context.scale(2, 2);
    context.strokeStyle = context.fillStyle = themeNow().racers[i % 8];
    context.lineWidth = 2;
    context.setLineDash(DASHES[i % 8]);
    context.beginPath();
    context.moveTo(0, 11);
    context.lineTo(34, 11);
    context.stroke();
    mark(context, i, 17, 11, 6);
    context.fill();
  });
}

/** The racers as their sliders stand. */
function racersNow() {
  const racers = structuredClone(race.racers);
  for (const [step, racer, name, value] of race.changes) if (step < track.length) racers[racer].values[name] = value;
  return racers;
}

// What was asked for and is not answered yet goes along with the next change: `race` does not have it.
let unanswered = 0, asked = {};
function restart(changes, play = false) {
  unanswered += 1;
  asked = { ...asked, ...changes };
  send("start", { race: { ...race, racers: racersNow(), changes: [], ...asked }, play });
}

function answered() {
  unanswered = Math.max(0, unanswered - 1);
  if (!unanswered) asked = {};
}

// Playing.

const speedScale = { to: (speed) => (Math.log(speed) / Math.log(hello.limits.speed)) * 100, from: (at) => hello.limits.speed ** (at / 100) };
const noiseScale = { to: (noise) => (noise ? 100 * (noise / 10) ** (1 / 3) : 0), from: (at) => round(10 * (at / 100) ** 3) };
const speedNow = () => speedScale.from(+$("speed").value);

function setSpeed(speed) {
  $("speed").value = speedScale.to(speed);
  $("speed-said").textContent = `${said(speedNow(), 2)} steps/s`;
}

function setPlaying(on) {
  [playing, dirty] = [on, true];
  $("play").textContent = on ? "Pause" : "Play";
}

function play() {
  hover = null;
  if (track.length > race.steps || (race.racers.length && ended.size === race.racers.length)) send("back");
  send("play", { speed: speedNow() });
  setPlaying(true);
}

$("play").onclick = () => (playing ? (send("pause"), setPlaying(false)) : play());
$("step").onclick = () => send("step");
$("back").onclick = () => send("back");
$("speed").oninput = () => {
  setSpeed(speedNow());
  if (playing) send("play", { speed: speedNow() });
};
$("log").onchange = () => ((charts[0].log = $("log").checked), (dirty = true), titleLoss());
const titleLoss = () => ($("loss-title").textContent = charts[0].log && charts[0].floor ? "Loss above its minimum" : "Loss");
$("moments").onchange = () => ((picture.moments = $("moments").checked), (dirty = true));
$("solid").onchange = () => {
  picture.solid = $("solid").checked;
  picture.turning = picture.solid && !matchMedia("(prefers-reduced-motion: reduce)").matches;
  picture.stale = dirty = true;
  $("picture").classList.toggle("solid", picture.solid);
};
$("picture").addEventListener("pointermove", () => picture.solid && (dirty = true));
$("picture").addEventListener("keydown", () => (dirty = true));

addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, button, textarea, dialog, summary") || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = { " ": () => $("play").click(), ".": () => $("step").click(), Home: () => $("back").click(), 3: () => $("solid").click() }[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

// Setting up.

$("experiment").onchange = () => showExperiment($("experiment").value);
$("previous").onclick = () => another(-1);
$("next").onclick = () => another(1);
function another(way) {
  const keys = hello.experiments.map((one) => one.key), at = keys.indexOf($("experiment").value);
  showExperiment(keys[at < 0 ? 0 : (at + way + keys.length) % keys.length]);
}
$("set-up").onclick = () => {
  const one = hello.experiments.find((each) => each.key === $("experiment").value);
  setSpeed(one.speed);
  send("start", { race: one.race });
  send("play", { speed: one.speed });
  awaitPlay = true;
  if (innerWidth <= 760) $("stage").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
};
let awaitPlay = false;
const began = answers.race;
answers.race = (message) => {
  began(message);
  if (awaitPlay) setPlaying(true);
  awaitPlay = false;
};

const OWN = { formula: "sin(x) * cos(y) + 0.05*(x**2 + y**2)", view: [-5, 5, -4, 4] };
$("surface").onchange = () => {
  const own = $("surface").value === "own", { start, noise, ...rest } = race;
  send("start", { race: { ...rest, surface: own ? OWN : $("surface").value, racers: racersNow(), changes: [] } });
};
const ownSurface = () => ({ formula: $("formula").value, view: [0, 1, 2, 3].map((i) => +$(`view-${i}`).value) });
function useOwn() {
  const { start, ...rest } = race;
  send("start", { race: { ...rest, surface: ownSurface(), racers: racersNow(), changes: [] } });
}
for (const id of ["formula", "view-0", "view-1", "view-2", "view-3"]) $(id).onchange = useOwn;
for (const id of ["start-x", "start-y"]) $(id).onchange = () => restart({ start: [+$("start-x").value, +$("start-y").value] });
for (const id of ["seed", "steps"]) $(id).onchange = () => restart({ [id]: +$(id).value });
$("dtype").onchange = () => restart({ dtype: $("dtype").value });
$("noise").oninput = () => ($("noise-said").textContent = said(noiseScale.from(+$("noise").value)));
$("noise").onchange = () => restart({ noise: noiseScale.from(+$("noise").value) });

// Taking away.

$("link").onclick = async () => {
  const link = `${location.href.split("#")[0]}#race=${toLink()}`;
  history.replaceState(null, "", link);
  await copy(link, "Copied: the part after # is the race, and opens in any lab.");
};
$("code").onclick = () => send("program");
$("copy").onclick = () => copy($("source").textContent, "Copied.");
$("close").onclick = () => $("program").close();
$("theme").onclick = () => {
  const themes = ["", "light", "dark"], now = document.documentElement.dataset.theme || "";
  document.documentElement.dataset.theme = themes[(themes.indexOf(now) + 1) % 3];
  drawMarks();
  showNotes();
  dirty = true;
};
$("save-html").onclick = () => send("export");
$("save-png").onclick = () => savePng("gdfast-lab.png", $("picture"), charts.map((chart) => chart.canvas));
$("save-gif").onclick = async () => {
  const racers = race.racers.map((one, i) => ({ name: one.rule, ended: ended.get(i) }));
  toast("Drawing the animation…");
  await saveGif("gdfast-lab.gif", $("picture"), track.length - 1, (step) => picture.draw(track, racers, step));
  dirty = true;
};

// For tests, and for the curious: what the page knows.
window.lab = {
  get race() { return race; },
  get playing() { return playing; },
  get track() { return { length: track.length, numbers: Array.from(track.numbers.subarray(0, track.length * track.racers * FIELDS)) }; },
  get ended() { return [...ended]; },
  get frames() { return frames; },
};
