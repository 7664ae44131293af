import { DASHES, LOSS, Track, mark, said, themeNow } from "./canvas.js";
import { Chart } from "./chart.js";
import { Picture } from "./picture.js";

// A recorded race, played from the file itself.

const get = (id) => document.getElementById(id);
const held = JSON.parse(get("recording").textContent);
const numbers = (text) => new Float32Array(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
const { race, surface, ended } = held, count = race.racers.length;
const track = new Track(count, 10), view = new Picture(get("picture")), chart = new Chart(get("loss"), LOSS, true);
const racers = race.racers.map((one, i) => ({ name: one.rule, ended: ended[i] }));
chart.floor = Math.min(0, surface.floor ?? 0);
track.add(0, numbers(held.frames));
view.setSurface(surface, numbers(held.heights), race.start);
const last = track.length - 1;
let at = 0, playing = true;
get("title").textContent = surface.title;
get("about").textContent = `${surface.about} f = ${surface.text}`;
get("at").max = last;
get("key").replaceChildren(...racers.map(({ name }, i) => {
  const item = document.createElement("li"), canvas = Object.assign(document.createElement("canvas"), { width: 68, height: 36 });
  const values = Object.entries(race.racers[i].values).map(([key, value]) => `${key} ${typeof value === "number" ? said(value) : value?.schedule ?? value}`);
  const context = canvas.getContext("2d");
  context.scale(2, 2);
  context.strokeStyle = context.fillStyle = themeNow().racers[i % 8];
  context.lineWidth = 2;
  context.setLineDash(DASHES[i % 8]);
  context.beginPath();
  context.moveTo(0, 9);
  context.lineTo(34, 9);
  context.stroke();
  mark(context, i, 17, 9, 6);
  context.fill();
  item.append(canvas, `${name} ${values.join(", ")}`);
  return item;
}));
const pause = (on) => ((playing = !on), (get("play").textContent = on ? "Play" : "Pause"));
get("play").onclick = () => (at >= last && (at = 0), pause(playing));
get("at").oninput = () => ((at = +get("at").value), pause(true));
get("solid").onchange = () => {
  view.solid = get("solid").checked;
  view.turning = view.solid && !matchMedia("(prefers-reduced-motion: reduce)").matches;
  view.stale = true;
};
let then = performance.now();
function play(now) {
  if (playing) at = Math.min(last, at + (Math.max(0, now - then) / 1000) * Math.max(12, last / 12));
  if (playing && at >= last) pause(true);
  then = now;
  const step = Math.floor(at);
  get("at").value = step;
  get("count").textContent = `step ${step.toLocaleString("en")} of ${last.toLocaleString("en")}`;
  view.draw(track, racers, step);
  chart.draw(track, racers, step, last, null);
  requestAnimationFrame(play);
}
requestAnimationFrame(play);
