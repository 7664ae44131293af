// A training of one's own, while it runs: rows of numbers come in, curves are drawn; what is asked for is sent back.

import { controlRows } from "./controls.js";
import { Curves } from "./curves.js";
import { toast } from "./toast.js";

const $ = (id) => document.getElementById(id);
let about = null, curves = null, dirty = true, paused = false;

const socket = new WebSocket(new URL("socket", location.href.split("#")[0]).href.replace(/^http/, "ws"));
socket.binaryType = "arraybuffer";
const send = (what, data = {}) => socket.readyState === 1 && socket.send(JSON.stringify({ do: what, ...data }));
socket.onmessage = ({ data }) => {
  if (typeof data !== "string") return (curves.take(new Float32Array(data)), (dirty = true));
  const message = JSON.parse(data);
  if (message.kind === "watch") begin(message);
  else if (message.kind === "error") toast(message.text, true);
  else if (message.kind === "news") told(message);
};
socket.onclose = ({ reason }) => {
  toast(reason || "The training has ended; these are its curves.", false, 1e9);
  for (const button of document.querySelectorAll("#control button, #control input, #control select")) button.disabled = true;
};

function begin(message) {
  about = message;
  paused = about.paused;
  document.title = `${about.title}, in gdfast's lab`;
  $("title").textContent = `${about.title}, while it trains`;
  curves = new Curves(about, $("curves"));
  if (about.control) {
    $("control").hidden = false;
    $("save").hidden = !about.checkpoint;
    showGroups(about.groups);
    showPaused();
  }
  document.querySelector("main").classList.remove("alone");
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
  item.textContent = `${curves.count ? `step ${curves.last("step").toLocaleString("en")}: ` : ""}${text}`;
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

function frame() {
  if (dirty && curves?.count) {
    dirty = false;
    curves.draw($("log").checked);
    $("numbers").replaceChildren(...curves.numbers().flatMap(([name, text]) => [
      Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: text })]));
  }
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

addEventListener("resize", () => (dirty = true));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (dirty = true));
$("log").onchange = () => (dirty = true);
$("pause").onclick = () => send(paused ? "resume" : "pause");
$("stop").onclick = () => send("stop");
$("save").onclick = () => send("save");

window.watched = { get rows() { return curves ? Array.from(curves.rows.subarray(0, curves.count * curves.width)) : []; }, get width() { return curves?.width ?? 0; }, get about() { return about; }, get paused() { return paused; } };
