// A training of one's own, while it runs: rows of numbers come in, curves are drawn; what is asked for is sent back.

import { DASHES, said, themeNow } from "./canvas.js";
import { Chart } from "./chart.js";
import { controlRows } from "./controls.js";

const $ = (id) => document.getElementById(id);
let about = null, rows = new Float32Array(0), count = 0, width = 0, dirty = true, paused = false;
let charts = [];

const socket = new WebSocket(new URL("socket", location.href.split("#")[0]).href.replace(/^http/, "ws"));
socket.binaryType = "arraybuffer";
const send = (what, data = {}) => socket.readyState === 1 && socket.send(JSON.stringify({ do: what, ...data }));
socket.onmessage = ({ data }) => {
  if (typeof data !== "string") return take(new Float32Array(data));
  const message = JSON.parse(data);
  if (message.kind === "watch") begin(message);
  else if (message.kind === "error") toast(message.text, true);
  else if (message.kind === "news") told(message);
};
socket.onclose = ({ reason }) => {
  toast(reason || "The training has ended; these are its curves.", false, 1e9);
  for (const button of document.querySelectorAll("#control button, #control input, #control select")) button.disabled = true;
};

function take(message) {
  const [, first, , columns] = message;
  width = columns;
  const needed = first * width + message.length - 4;
  if (needed > rows.length) {
    const larger = new Float32Array(2 * needed);
    larger.set(rows);
    rows = larger;
  }
  rows.set(message.subarray(4), first * width);
  count = needed / width;
  dirty = true;
}

function begin(message) {
  about = message;
  paused = about.paused;
  document.title = `${about.title}, in gdfast's lab`;
  $("title").textContent = `${about.title}, while it trains`;
  const column = (name) => about.columns.indexOf(name), named = about.names.map((name, i) => [name, i]);
  const ofArray = (what) => named.map(([name, i]) => [name, about.columns.length + i * about.of_array.length + about.of_array.indexOf(what)]);
  const curves = [
    ["Loss", [["loss", column("loss")]], true], ["Score", [["score", column("score")]], false],
    ["Learning rate", [["lr", column("lr")]], false], ["Norm of all gradients", [["norm", column("norm")]], true],
    ["Norm of each gradient", ofArray("norm"), true], ["An update's size over the array's", ofArray("update"), true],
    ["Share of units without a gradient", ofArray("dead"), false], ["Seconds a step", [["seconds", column("seconds")]], false],
  ];
  charts = curves.filter(([, lines]) => lines.length).map(([title, lines, log]) => {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas"), key = document.createElement("ul");
    figure.append(Object.assign(document.createElement("figcaption"), { textContent: title }), canvas, key);
    key.className = "key";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title} against steps`);
    if (lines.length > 1) key.append(...lines.map(([name], i) => legend(name, i)));
    $("curves").append(figure);
    const chart = new Chart(canvas, 0, log);
    return { figure, chart, lines, log, track: { stepOf: (k) => rows[k * width], at: (k, i) => rows[k * width + lines[i][1]] } };
  });
  if (about.control) {
    $("control").hidden = false;
    $("save").hidden = !about.checkpoint;
    showGroups(about.groups);
    showPaused();
  }
  document.querySelector("main").classList.remove("alone");
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

function showGroups(groups) {
  if (!about.rule || $("groups").contains(document.activeElement)) return;
  $("groups").replaceChildren(...groups.map((values, group) => {
    const box = document.createElement("section");
    box.className = "racer";
    if (groups.length > 1) box.append(Object.assign(document.createElement("h3"), { textContent: `Group ${group}` }));
    const change = (name, value) => send("set", { group, name, value });
    box.append(controlRows({ rule: about.rule, racer: { values: Object.fromEntries(Object.entries(values).filter(([name]) =>
      about.rule.controls.some((one) => one.name === name))) }, index: group, schedules: about.schedules, steps: 1000, change }));
    return box;
  }));
}

function told({ what, text, groups }) {
  const item = document.createElement("li");
  item.textContent = `${count ? `step ${rows[(count - 1) * width].toLocaleString("en")}: ` : ""}${text}`;
  $("news").prepend(item);
  if (what === "error") toast(text, true);
  if (what === "pause" || what === "resume" || what === "stop") paused = what === "pause";
  if (what === "save") toast(text);
  showPaused();
  if (what !== "set") showGroups(groups);
}

function showPaused() {
  $("pause").textContent = paused ? "Go on" : "Pause";
}

let toasting = 0;
function toast(text, bad = false, long = 5000) {
  $("toast").textContent = text;
  $("toast").className = bad ? "shown bad" : "shown";
  clearTimeout(toasting);
  toasting = setTimeout(() => ($("toast").className = ""), long);
}

function frame() {
  if (dirty && count && about) {
    dirty = false;
    for (const { figure, chart, lines, log, track } of charts) {
      figure.hidden = !has(lines);
      chart.log = log && $("log").checked;
      if (!figure.hidden) chart.draw(track, lines, count - 1, 0, null);
    }
    const last = (name) => rows[(count - 1) * width + about.columns.indexOf(name)];
    const shown = [["step", last("step").toLocaleString("en")], ["loss", said(last("loss"), 4)], ["score", said(last("score"), 4)], ["lr", said(last("lr"))],
      ["norm of gradients", said(last("norm"))], ["skipped steps", said(last("skipped"))], ["time a step", `${said(last("seconds") * 1000)} ms`]];
    $("numbers").replaceChildren(...shown.filter(([, text]) => text !== "–").flatMap(([name, text]) => [
      Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: text })]));
  }
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

/** Whether there is anything to draw. */
function has(lines) {
  for (let k = Math.max(0, count - 200); k < count; k++) if (lines.some(([, column]) => Number.isFinite(rows[k * width + column]))) return true;
  return false;
}

addEventListener("resize", () => (dirty = true));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (dirty = true));
$("log").onchange = () => (dirty = true);
$("pause").onclick = () => send(paused ? "resume" : "pause");
$("stop").onclick = () => send("stop");
$("save").onclick = () => send("save");

window.watched = { get rows() { return Array.from(rows.subarray(0, count * width)); }, get width() { return width; }, get about() { return about; }, get paused() { return paused; } };
