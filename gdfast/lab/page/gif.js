// An animated GIF of pictures: the 256 colours that are used most, and Lempel-Ziv-Welch as in the GIF89a specification.

const key = (data, i) => ((data[i] >> 3) << 10) | ((data[i + 1] >> 3) << 5) | (data[i + 2] >> 3);
const parts = (one) => [(one >> 10) & 31, (one >> 5) & 31, one & 31];

/** The colours used most, and for every colour (5 bits a part) the index of the nearest of them. */
function palette(images) {
  const counts = new Float64Array(32768);
  for (const data of images) for (let i = 0; i < data.length; i += 4) counts[key(data, i)]++;
  const used = [...counts.keys()].filter((one) => counts[one]).sort((a, b) => counts[b] - counts[a]);
  const chosen = used.slice(0, 256), index = new Uint8Array(32768);
  for (const one of used) {
    const [r, g, b] = parts(one);
    let nearest = Infinity;
    for (let i = 0; i < chosen.length && nearest; i++) {
      const [x, y, z] = parts(chosen[i]), far = (r - x) ** 2 + (g - y) ** 2 + (b - z) ** 2;
      if (far < nearest) (nearest = far), (index[one] = i);
    }
  }
  return { chosen, index };
}

class Bytes {
  constructor() {
    this.data = new Uint8Array(1 << 16);
    this.length = 0;
  }
  add(...values) {
    if (this.length + values.length > this.data.length) {
      const larger = new Uint8Array(2 * this.data.length + values.length);
      larger.set(this.data);
      this.data = larger;
    }
    for (const value of values) this.data[this.length++] = value;
  }
  short(value) {
    this.add(value & 255, (value >> 8) & 255);
  }
}

function compress(out, pixels) {
  const codes = new Int32Array(4096 * 256).fill(-1);
  let next = 258, size = 9, bits = 0, held = 0, current = pixels[0], block = [];
  const flush = () => {
    if (block.length) out.add(block.length, ...block);
    block = [];
  };
  const put = (code) => {
    held |= code << bits;
    for (bits += size; bits >= 8; bits -= 8, held >>>= 8) {
      block.push(held & 255);
      if (block.length === 255) flush();
    }
  };
  out.add(8);
  put(256);
  for (let i = 1; i < pixels.length; i++) {
    const at = current * 256 + pixels[i];
    if (codes[at] >= 0) {
      current = codes[at];
      continue;
    }
    put(current);
    if (next < 4096) {
      codes[at] = next++;
      if (next - 1 === 1 << size && size < 12) size++;
    } else {
      put(256);
      codes.fill(-1);
      next = 258;
      size = 9;
    }
    current = pixels[i];
  }
  put(current);
  put(257);
  if (bits) block.push(held & 255);
  flush();
  out.add(0);
}

/** Pictures as RGBA bytes, all of one size; `delay` in hundredths of a second. The last one stays for longer. */
export function encodeGif(images, width, height, delay) {
  const out = new Bytes(), { chosen, index } = palette(images);
  out.add(...new TextEncoder().encode("GIF89a"));
  out.short(width);
  out.short(height);
  out.add(0xf7, 0, 0);
  for (let i = 0; i < 256; i++) out.add(...parts(chosen[i] ?? 0).map((part) => (part << 3) | (part >> 2)));
  out.add(0x21, 0xff, 11, ...new TextEncoder().encode("NETSCAPE2.0"), 3, 1, 0, 0, 0);
  images.forEach((data, i) => {
    out.add(0x21, 0xf9, 4, 0);
    out.short(i === images.length - 1 ? 150 : delay);
    out.add(0, 0, 0x2c, 0, 0, 0, 0);
    out.short(width);
    out.short(height);
    out.add(0);
    const pixels = new Uint8Array(width * height);
    for (let k = 0; k < pixels.length; k++) pixels[k] = index[key(data, 4 * k)];
    compress(out, pixels);
  });
  out.add(0x3b);
  return out.data.subarray(0, out.length);
}
