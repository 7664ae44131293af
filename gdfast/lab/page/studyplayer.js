import { Chart } from "./chart.js";
import { drawStudy, scoreOf } from "./study.js";

// A recorded study, played from the file itself.

const get = (id) => document.getElementById(id), COLUMNS = 5;
const held = JSON.parse(get("recording").textContent), { data, views } = held;
const numbers = (text) => new Float32Array(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
const rows = numbers(held.rows), seen = views.map((one) => one.seen && numbers(one.seen)), last = views.length - 1;
const charts = [["loss", true, [1, 2]], ["score", false, [3]]].map(([id, log, columns]) => ({
  chart: new Chart(get(id), 0, log), columns, track: { stepOf: (k) => rows[k * COLUMNS], at: (k, i) => rows[k * COLUMNS + columns[i]] } }));
let at = 0, playing = last > 0;
get("title").textContent = { line: "A line through points", classes: "Two classes of points", words: "Words of messages", digits: "Handwritten digits" }[data.study.task];
get("about").textContent = held.about;
get("score-name").textContent = data.study.task === "line" ? "Held-out rows: R²" : "Held-out rows: share that is right";
get("at").max = last;
if (held.ended) get("notes").append(Object.assign(document.createElement("li"), { textContent: held.ended }));
const pause = (on) => ((playing = !on), (get("play").textContent = on ? "Play" : "Pause"));
get("play").onclick = () => (at >= last && (at = 0), pause(playing));
get("at").oninput = () => ((at = +get("at").value), pause(true));
pause(!playing);
let then = performance.now();
function play(now) {
  if (playing) at = Math.min(last, at + (Math.max(0, now - then) / 1000) * 12);
  if (playing && at >= last) pause(true);
  then = now;
  const place = Math.floor(at), row = views[place].row - 1;
  get("at").value = place;
  get("count").textContent = row < 0 ? "step 0" : `step ${rows[row * COLUMNS].toLocaleString("en")}: ${scoreOf(data.study.task, rows[row * COLUMNS + 3])}`;
  drawStudy(get("view"), data, seen[place]);
  for (const { chart, columns, track } of charts) if (row >= 0) chart.draw(track, columns, row, 0, null);
  requestAnimationFrame(play);
}
requestAnimationFrame(play);
