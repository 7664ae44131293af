// A slider, a box, or a schedule for each hyperparameter, with the ranges that the server says.

import { said } from "./canvas.js";

const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);

/** How a slider's place from 0 to 1 becomes a number: shares close to 1 and sizes of all orders need room. */
function scaleOf(control, fallback) {
  if (/beta|momentum|rho|^alpha$|nus|decay$/.test(control.name) && control.low === 0 && control.high !== null || control.name === "momentum") {
    const top = 4; // up to 1 - 10**-4
    return { to: (value) => Math.min(1, -Math.log10(Math.max(1 - value, 1e-9)) / top), from: (at) => 1 - 10 ** (-top * at) };
  }
  if (control.low !== null && control.high !== null) {
    const span = control.high - control.low;
    return { to: (value) => (value - control.low) / span, from: (at) => control.low + at * span * (control.closed ? 1 : 0.9999) };
  }
  if (control.low !== 0) {
    const size = 10 * Math.max(1, Math.abs(fallback || 1));
    return { to: (value) => (value / size + 1) / 2, from: (at) => Math.max((2 * at - 1) * size, control.low ?? -Infinity) };
  }
  const middle = fallback > 0 ? fallback : 0.01, low = Math.log10(middle) - (control.name === "lr" ? 2 : 3), span = 6;
  return {
    to: (value) => (value > 0 ? Math.max(0.002, (Math.log10(value) - low) / span) : 0),
    from: (at) => (at <= 0.001 ? (control.positive ? 10 ** low : 0) : 10 ** (low + at * span)),
  };
}

const tidy = (value) => +(+value).toPrecision(Math.abs(value) > 0.9 && Math.abs(value) < 1 ? 5 : 3);

/** At most one message a picture, the last one. */
function once(work) {
  let next = null;
  return (...values) => {
    if (!next) requestAnimationFrame(() => (work(...next), (next = null)));
    next = values;
  };
}

export function controlRows({ rule, racer, index, schedules, steps, change }) {
  const rows = document.createDocumentFragment(), more = make("details"), shown = [];
  const own = rule.controls.filter((control) => control.own);
  const front = new Set([...own.slice(0, 2), ...rule.controls.filter((control) => control.name in racer.values)]);
  for (const control of rule.controls) {
    const value = control.name in racer.values ? racer.values[control.name] : control.default;
    const built = rowsOf({ control, value, index, schedules, steps, change: (data) => change(control.name, data) });
    (front.has(control) ? rows : more).append(...built);
    if (!front.has(control)) shown.push(control.name);
  }
  if (shown.length) {
    more.prepend(make("summary", { textContent: `${shown.length} more hyperparameters` }));
    rows.append(more);
  }
  return rows;
}

function rowsOf({ control, value, index, schedules, steps, change }) {
  if (control.kind === "numbers") {
    const values = value.slice();
    return values.map((one, i) => numberRow({
      control: { ...control, default: control.default[i] }, name: `${control.name}[${i}]`, value: one, index, schedules, steps,
      change: (data) => ((values[i] = data), change(values.slice())),
    }));
  }
  if (control.kind === "number") return [numberRow({ control, name: control.name, value, index, schedules, steps, change })];
  const row = make("div", { className: "control" }), id = `c-${index}-${control.name}`;
  row.append(make("label", { textContent: control.name, htmlFor: id }));
  const input = inputFor(control, value, change);
  input.id = id;
  if (control.kind !== "flag") input.classList.add("wide");
  row.append(input);
  return [row];
}

function inputFor(field, value, change) {
  if (field.kind === "flag") {
    const box = make("input", { type: "checkbox", checked: value });
    box.onchange = () => change(box.checked);
    return box;
  }
  if (field.kind === "choice") {
    const select = make("select");
    select.append(...field.words.map((word) => make("option", { value: word ?? "", textContent: word ?? "none" })));
    select.value = value ?? "";
    select.onchange = () => change(select.value || null);
    return select;
  }
  const whole = field.kind === "count", box = make("input", { type: "number", step: whole ? "1" : "any", value: value ?? "" });
  if (field.optional) box.placeholder = "none";
  box.onchange = () => {
    if (box.value === "" && !field.optional) return void (box.value = value ?? "");
    change(box.value === "" ? null : +box.value);
  };
  return box;
}

function numberRow({ control, name, value, index, schedules, steps, change }) {
  const row = make("div", { className: "control" }), id = `c-${index}-${name}`, scale = scaleOf(control, control.default);
  const scheduled = value && typeof value === "object";
  row.dataset.name = name;
  row.append(make("label", { textContent: name, htmlFor: id }));
  if (scheduled) {
    row.append(...scheduleInputs({ id, value, schedules, steps, change }));
  } else {
    const slider = make("input", { type: "range", min: 0, max: 1, step: 0.001, value: scale.to(value ?? 0), id });
    const box = inputFor({ ...control, kind: "number" }, value === null ? null : tidy(value), (data) => {
      slider.value = scale.to(data ?? 0);
      change(data);
    });
    box.setAttribute("aria-label", `${name}, as a number`);
    slider.setAttribute("aria-valuetext", said(value));
    const tell = once(change);
    slider.oninput = () => {
      const number = tidy(scale.from(+slider.value));
      box.value = number;
      slider.setAttribute("aria-valuetext", said(number));
      tell(control.optional && +slider.value === 0 ? null : number);
    };
    row.append(slider, box);
  }
  if (control.scheduled) {
    const toggle = make("button", { textContent: "∿", title: scheduled ? "A constant again" : "Let it follow a schedule" });
    toggle.setAttribute("aria-pressed", String(Boolean(scheduled)));
    toggle.setAttribute("aria-label", `${name} follows a schedule`);
    toggle.onclick = () => {
      const next = scheduled ? constantOf(value, control.default) : scheduleOf(schedules.find((one) => one.schedule === "Cosine"), value || 0.1, steps);
      row.replaceWith(numberRow({ control, name, value: next, index, schedules, steps, change }));
      change(next);
    };
    scheduled ? row.lastChild.before(toggle) : row.append(toggle);
  }
  return row;
}

const constantOf = ({ arguments: held }, fallback) => held.lr ?? held.max_lr ?? fallback;

/** A schedule whose fields suit a race of this many steps. */
function scheduleOf(schedule, size, steps) {
  const part = (share) => Math.max(1, Math.round(steps * share));
  const suited = {
    lr: size, max_lr: size, base_lr: size / 10, total_steps: steps, warmup_steps: schedule.fields.some((one) => one.name === "total_steps") ? part(0.1) : 0,
    cycle_steps: part(0.25), step_size: part(0.25), step_size_up: part(0.125), decay_steps: part(0.4), gamma: schedule.schedule === "Exponential" ? 0.5 : 0.3, decay_rate: 1,
  };
  const arguments_ = {};
  for (const field of schedule.fields) if (field.needed || field.name === "warmup_steps" || field.name === "step_size_up" || (field.name === "step_size" && !field.optional)) arguments_[field.name] = suited[field.name] ?? field.default;
  return { schedule: schedule.schedule, arguments: arguments_ };
}

function scheduleInputs({ id, value, schedules, steps, change }) {
  const select = make("select", { id, className: "wide" }), fields = make("div", { className: "fields" });
  select.append(...schedules.map((one) => make("option", { value: one.schedule, textContent: one.schedule })));
  let held = structuredClone(value);
  const show = () => {
    const schedule = schedules.find((one) => one.schedule === held.schedule);
    select.value = held.schedule;
    fields.replaceChildren(make("p", { className: "about soft", textContent: schedule ? schedule.about : `${held.schedule}, as the link has it.` }));
    for (const field of schedule?.fields ?? []) {
      const label = make("label", { textContent: field.name });
      label.append(inputFor(field, field.name in held.arguments ? held.arguments[field.name] : field.default, (data) => {
        held = { ...held, arguments: { ...held.arguments, [field.name]: data } };
        change(held);
      }));
      fields.append(label);
    }
  };
  select.onchange = () => {
    held = scheduleOf(schedules.find((one) => one.schedule === select.value), constantOf(held, 0.1), steps);
    show();
    change(held);
  };
  show();
  return [select, fields];
}
