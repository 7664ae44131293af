// Taking away what a page shows: downloads, the clipboard, pictures and animations of its canvases.

import { themeNow } from "./canvas.js";
import { encodeGif } from "./gif.js";
import { toast } from "./toast.js";

export function download(name, blob) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export async function copy(text, words) {
  try {
    await navigator.clipboard.writeText(text);
    toast(words);
  } catch {
    toast("The browser does not allow copying; the address bar has the link.", true);
  }
}

/** One picture: a canvas, and others in a row below it. */
export function savePng(name, main, rest) {
  const whole = document.createElement("canvas"), gap = 16, each = Math.floor((main.width - (rest.length - 1) * gap) / rest.length);
  const high = Math.max(...rest.map((one) => (one.height * each) / one.width));
  Object.assign(whole, { width: main.width + 2 * gap, height: main.height + high + 3 * gap });
  const context = whole.getContext("2d");
  context.fillStyle = themeNow().paper;
  context.fillRect(0, 0, whole.width, whole.height);
  context.drawImage(main, gap, gap);
  rest.forEach((one, i) => context.drawImage(one, gap + i * (each + gap), main.height + 2 * gap, each, (one.height * each) / one.width));
  whole.toBlob((blob) => download(name, blob));
}

const MOST_FRAMES = 72, WIDEST = 640;

/** An animation of a canvas that `draw` fills: frame 0 to `last` of what it has, or some of these. */
export async function saveGif(name, from, last, draw) {
  const count = Math.min(MOST_FRAMES, last + 1), canvas = document.createElement("canvas"), images = [];
  const wide = Math.min(WIDEST, from.width), high = Math.round((from.height * wide) / from.width);
  Object.assign(canvas, { width: wide, height: high });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (let i = 0; i < count; i++) {
    draw(Math.round((i * last) / Math.max(1, count - 1)));
    context.fillStyle = themeNow().paper;
    context.fillRect(0, 0, wide, high);
    context.drawImage(from, 0, 0, wide, high);
    images.push(context.getImageData(0, 0, wide, high).data);
    if (i % 8 === 7) await new Promise((go) => setTimeout(go));
  }
  download(name, new Blob([encodeGif(images, wide, high, 8)], { type: "image/gif" }));
}
