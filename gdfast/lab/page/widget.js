import { DASHES, LOSS, Track, mark, said, themeNow } from "./canvas.js";
import { Chart } from "./chart.js";
import { Picture } from "./picture.js";

// A race in a notebook: the kernel makes the steps, this draws them.

const FIELDS = 10, STYLE = `
  .gdfast-lab { font: 14px/1.45 system-ui, sans-serif; max-width: 860px; display: grid; gap: 8px; }
  .gdfast-lab canvas { display: block; width: 100%; } .gdfast-lab .map { height: 400px; } .gdfast-lab .loss { height: 150px; }
  .gdfast-lab .row { display: flex; gap: 8px 14px; align-items: center; flex-wrap: wrap; }
  .gdfast-lab button { font: inherit; padding: 3px 12px; border-radius: 6px; border: 1px solid #8795a3; cursor: pointer; }
  .gdfast-lab .mark { width: 34px; height: 18px; display: inline-block; vertical-align: -4px; margin-right: 5px; }`;

function floats(view) {
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

function render({ model, el }) {
  const { race, surface } = model.get("about"), count = race.racers.length;
  el.innerHTML = `<style>${STYLE}</style><div class="gdfast-lab"><strong></strong><canvas class="map" tabindex="0"></canvas>
    <div class="row"><button class="play">Play</button><button class="step">One step</button><button class="back">Back</button>
    <label>steps/s <input class="speed" type="range" min="1" max="300" value="30"></label>
    <label><input class="solid" type="checkbox"> 3-D</label><span class="count"></span></div>
    <div class="row key"></div><canvas class="loss"></canvas><div class="note" role="status"></div></div>`;
  const find = (name) => el.querySelector(name), view = new Picture(find(".map")), chart = new Chart(find(".loss"), LOSS, true);
  const racers = race.racers.map((one) => ({ name: one.rule, ended: null }));
  let track = new Track(count, FIELDS), playing = false, waiting = false, due = 0, then = 0, dirty = true, alive = true;
  const refill = () => {
    track = new Track(count, FIELDS);
    track.add(0, floats(model.get("frames")));
    racers.forEach((one) => (one.ended = null));
    view.fresh = dirty = true;
  };
  find("strong").textContent = surface.title;
  find(".map").setAttribute("aria-label", `Map of ${surface.title} with the paths of the racers`);
  chart.floor = Math.min(0, surface.floor ?? 0);
  view.setSurface(surface, floats(model.get("heights")), race.start);
  refill();
  find(".key").append(...racers.map((one, i) => {
    const item = document.createElement("span"), canvas = Object.assign(document.createElement("canvas"), { width: 68, height: 36, className: "mark" });
    const context = canvas.getContext("2d");
    context.scale(2, 2);
    context.strokeStyle = context.fillStyle = themeNow().racers[i % 8];
    context.setLineDash(DASHES[i % 8]);
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(0, 9);
    context.lineTo(34, 9);
    context.stroke();
    mark(context, i, 17, 9, 6);
    context.fill();
    const values = Object.entries(race.racers[i].values).map(([name, value]) => `${name} ${typeof value === "number" ? said(value) : value?.schedule ?? value}`);
    item.append(canvas, `${one.name} ${values.join(", ")}`);
    return item;
  }));
  const play = (on) => ((playing = on), (find(".play").textContent = on ? "Pause" : "Play"));
  const ask = (steps) => ((waiting = true), model.send({ do: "advance", steps }));
  find(".play").onclick = () => play(!playing);
  find(".step").onclick = () => (play(false), ask(1));
  find(".back").onclick = () => (play(false), model.send({ do: "back" }));
  find(".solid").onchange = () => ((view.solid = view.turning = find(".solid").checked), (view.stale = dirty = true));
  const heard = (message, buffers) => {
    waiting = false;
    dirty = true;
    if (message.kind === "back") return refill();
    if (message.kind === "error") return void (find(".note").textContent = message.text);
    track.add(message.first, floats(buffers[0]));
    for (const [i, text] of Object.entries(message.ended)) racers[i].ended = { text };
    find(".note").textContent = Object.values(message.ended).join(" ");
    if (message.over) play(false);
  };
  model.on("msg:custom", heard);
  model.send({ do: "show" });
  function frame(now) {
    if (!alive) return;
    if (playing && !waiting) {
      due = Math.min(due + ((now - then) / 1000) * find(".speed").value, 300);
      if (due >= 1) (ask(Math.floor(due)), (due %= 1));
    }
    then = now;
    if (dirty || (view.solid && view.turning)) {
      dirty = false;
      view.draw(track, racers, track.length - 1);
      chart.draw(track, racers, track.length - 1, race.steps, null);
      find(".count").textContent = `step ${track.length - 1} of ${race.steps}`;
    }
    requestAnimationFrame(frame);
  }
  requestAnimationFrame(frame);
  return () => {
    alive = false;
    model.off("msg:custom", heard);
  };
}

export default { render };
