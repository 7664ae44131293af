import { Curves } from "./curves.js";

// A training of one's own in a notebook: rows come from the kernel while the loop runs, this draws them.

const STYLE = `
  .gdfast-watch { font: 14px/1.45 system-ui, sans-serif; max-width: 960px; display: grid; gap: 10px; }
  .gdfast-watch .curves { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }
  .gdfast-watch figure { margin: 0; min-width: 0; } .gdfast-watch figure > canvas { display: block; width: 100%; height: 170px; } .gdfast-watch [hidden] { display: none; }
  .gdfast-watch .key { display: flex; flex-wrap: wrap; gap: 0 14px; font-size: 13px; list-style: none; margin: 0; padding: 0; }
  .gdfast-watch .key canvas { width: 28px; height: 14px; margin-right: 5px; vertical-align: -2px; }
  .gdfast-watch .row { display: flex; gap: 4px 18px; flex-wrap: wrap; align-items: center; }`;

function floats(view) {
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

function render({ model, el }) {
  const about = model.get("about");
  el.innerHTML = `<style>${STYLE}</style><div class="gdfast-watch"><div class="row"><strong></strong>
    <label><input class="log" type="checkbox" checked> logarithmic</label><span class="now" role="status"></span></div><div class="curves"></div></div>`;
  const find = (name) => el.querySelector(name), curves = new Curves(about, find(".curves"));
  let dirty = false, alive = true;
  find("strong").textContent = about.title;
  find(".log").onchange = () => (dirty = true);
  const take = (view) => view?.byteLength && (curves.take(floats(view)), (dirty = true));
  const heard = (message, buffers) => take(buffers[0]), refill = () => take(model.get("rows"));
  model.on("msg:custom", heard);
  model.on("change:rows", refill);
  refill();
  model.send({ do: "rows" }); // all so far: of a view that is opened later
  const observer = new ResizeObserver(() => (dirty = true));
  observer.observe(el);
  function frame() {
    if (!alive) return;
    if (dirty && curves.count && el.clientWidth) {
      dirty = false;
      curves.draw(find(".log").checked);
      find(".now").textContent = curves.numbers().map(([name, text]) => `${name} ${text}`).join("   ");
    }
    requestAnimationFrame(frame);
  }
  requestAnimationFrame(frame);
  return () => {
    alive = false;
    observer.disconnect();
    model.off("msg:custom", heard);
    model.off("change:rows", refill);
  };
}

export default { render };
