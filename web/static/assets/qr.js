// @ts-check
/** QR codes (ISO/IEC 18004) of bytes, error correction level L: for screens, which are not torn. @module */

/** Of each version: codewords for correction in a block, and the number of blocks. */
const CORRECTION = [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28,
  28, 28, 30, 30, 26, 28, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30];
const BLOCKS = [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8,
  8, 9, 9, 10, 12, 12, 12, 13, 14, 15, 16, 17, 18, 19, 19, 20, 21, 22, 24, 25];

/** @type {((x: number, y: number) => boolean)[]} where a mask inverts */
const MASKS = [
  (x, y) => (x + y) % 2 === 0,
  (x, y) => y % 2 === 0,
  (x, y) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => (x * y) % 2 + (x * y) % 3 === 0,
  (x, y) => ((x * y) % 2 + (x * y) % 3) % 2 === 0,
  (x, y) => ((x + y) % 2 + (x * y) % 3) % 2 === 0,
];

/**
 * @param {string} text  at most 2953 bytes of UTF-8
 * @returns {boolean[][]}  rows of modules, true is dark, without the quiet zone
 */
export function qr(text) {
  const bytes = new TextEncoder().encode(text);
  let version = 1;
  while (version <= 40 && capacity(version) < bytes.length) version++;
  if (version > 40) throw new RangeError(`${bytes.length} bytes are too many for a QR code`);
  const data = interleaved(version, payload(version, bytes));
  const grid = new Grid(version);
  grid.place(data);
  let best = 0;
  let least = Infinity;
  for (let mask = 0; mask < MASKS.length; mask++) {
    const p = penalty(grid.masked(mask));
    if (p < least) [best, least] = [mask, p];
  }
  return grid.masked(best);
}

/** Bits of a version that carry data or correction. @param {number} version */
function rawBits(version) {
  let bits = (16 * version + 128) * version + 64;
  if (version >= 2) {
    const n = Math.floor(version / 7) + 2;
    bits -= (25 * n - 10) * n - 55;
    if (version >= 7) bits -= 36;
  }
  return bits;
}

/** @param {number} version */
function dataCodewords(version) {
  return (rawBits(version) >> 3) - CORRECTION[version - 1] * BLOCKS[version - 1];
}

/** Bytes of text that fit: without the mode and the length. @param {number} version */
function capacity(version) {
  return dataCodewords(version) - (version < 10 ? 2 : 3);
}

/** Mode, length, bytes, terminator and padding. @param {number} version @param {Uint8Array} bytes */
function payload(version, bytes) {
  const out = new Uint8Array(dataCodewords(version));
  let at = 0;
  const put = (/** @type {number} */ value, /** @type {number} */ length) => {
    for (let i = length - 1; i >= 0; i--, at++) out[at >> 3] |= ((value >> i) & 1) << (7 - (at & 7));
  };
  put(4, 4); // byte mode
  put(bytes.length, version < 10 ? 8 : 16);
  for (const byte of bytes) put(byte, 8);
  for (let i = (at + 4 + 7) >> 3, pad = 0xec; i < out.length; i++, pad ^= 0xec ^ 0x11) out[i] = pad;
  return out;
}

/** Blocks with their correction, one codeword of each in turn. @param {number} version @param {Uint8Array} data */
function interleaved(version, data) {
  const blocks = BLOCKS[version - 1];
  const correction = CORRECTION[version - 1];
  const divisor = generator(correction);
  const short = Math.floor(data.length / blocks);
  const long = data.length % blocks; // so many blocks, the last ones, have one codeword more
  const parts = [];
  for (let i = 0, at = 0; i < blocks; i++) {
    const part = data.subarray(at, at + short + (i >= blocks - long ? 1 : 0));
    at += part.length;
    parts.push({part, check: remainder(part, divisor)});
  }
  const out = [];
  for (let i = 0; i <= short; i++) for (const {part} of parts) if (i < part.length) out.push(part[i]);
  for (let i = 0; i < correction; i++) for (const {check} of parts) out.push(check[i]);
  return out;
}

/** Product in GF(256) with the polynomial 0x11d. @param {number} a @param {number} b */
function times(a, b) {
  let z = 0;
  for (let i = 7; i >= 0; i--) z = (z << 1) ^ ((z >>> 7) * 0x11d) ^ (((b >>> i) & 1) * a);
  return z;
}

/** The Reed-Solomon generator without its leading 1. @param {number} degree */
function generator(degree) {
  const out = new Uint8Array(degree);
  out[degree - 1] = 1;
  for (let i = 0, root = 1; i < degree; i++, root = times(root, 2)) {
    for (let j = 0; j < degree; j++) out[j] = times(out[j], root) ^ (out[j + 1] ?? 0);
  }
  return out;
}

/** @param {Uint8Array} data @param {Uint8Array} divisor */
function remainder(data, divisor) {
  const out = new Uint8Array(divisor.length);
  for (const byte of data) {
    const factor = byte ^ out[0];
    out.copyWithin(0, 1);
    out[out.length - 1] = 0;
    divisor.forEach((d, i) => { out[i] ^= times(d, factor); });
  }
  return out;
}

/** Modules by row, and which of them are part of the frame and not of the data. */
class Grid {
  /** @param {number} version */
  constructor(version) {
    this.version = version;
    this.size = 4 * version + 17;
    /** @type {boolean[][]} */
    this.dark = Array.from({length: this.size}, () => Array(this.size).fill(false));
    /** @type {boolean[][]} */
    this.frame = this.dark.map((row) => row.slice());
    this._timing();
    this._finders();
    this._alignment();
    this._versionBits();
    this._format(this.dark, 0, true);
  }

  /** @param {number} x @param {number} y @param {boolean} dark */
  _set(x, y, dark) {
    if (x < 0 || y < 0 || x >= this.size || y >= this.size) return;
    this.dark[y][x] = dark;
    this.frame[y][x] = true;
  }

  _timing() {
    for (let i = 0; i < this.size; i++) {
      this._set(6, i, i % 2 === 0);
      this._set(i, 6, i % 2 === 0);
    }
  }

  _finders() {
    for (const [cx, cy] of [[3, 3], [this.size - 4, 3], [3, this.size - 4]]) {
      for (let y = -4; y <= 4; y++) {
        for (let x = -4; x <= 4; x++) {
          const ring = Math.max(Math.abs(x), Math.abs(y));
          this._set(cx + x, cy + y, ring !== 2 && ring !== 4);
        }
      }
    }
  }

  _alignment() {
    const {version, size} = this;
    if (version === 1) return;
    const n = Math.floor(version / 7) + 2;
    const step = version === 32 ? 26 : Math.ceil((4 * version + 4) / (2 * n - 2)) * 2;
    const at = [6, ...Array.from({length: n - 1}, (_, i) => size - 7 - (n - 2 - i) * step)];
    for (const cx of at) {
      for (const cy of at) {
        const corner = (cx === 6 && (cy === 6 || cy === size - 7)) || (cx === size - 7 && cy === 6);
        if (corner) continue;
        for (let y = -2; y <= 2; y++) {
          for (let x = -2; x <= 2; x++) this._set(cx + x, cy + y, Math.max(Math.abs(x), Math.abs(y)) !== 1);
        }
      }
    }
  }

  _versionBits() {
    if (this.version < 7) return;
    let rest = this.version;
    for (let i = 0; i < 12; i++) rest = (rest << 1) ^ ((rest >>> 11) * 0x1f25);
    const bits = (this.version << 12) | rest;
    for (let i = 0; i < 18; i++) {
      const a = this.size - 11 + (i % 3);
      const b = Math.floor(i / 3);
      const dark = ((bits >>> i) & 1) === 1;
      this._set(a, b, dark);
      this._set(b, a, dark);
    }
  }

  /** Level and mask, twice. @param {boolean[][]} into @param {number} mask @param {boolean} [reserve] */
  _format(into, mask, reserve = false) {
    const {size} = this;
    const data = (1 << 3) | mask; // 1 is level L
    let rest = data;
    for (let i = 0; i < 10; i++) rest = (rest << 1) ^ ((rest >>> 9) * 0x537);
    const bits = ((data << 10) | rest) ^ 0x5412;
    const put = (/** @type {number} */ x, /** @type {number} */ y, /** @type {boolean} */ dark) => {
      into[y][x] = dark;
      if (reserve) this.frame[y][x] = true;
    };
    for (let i = 0; i < 15; i++) {
      const dark = ((bits >>> i) & 1) === 1;
      if (i < 6) put(8, i, dark);
      else if (i < 8) put(8, i + 1, dark);
      else put(i === 8 ? 7 : 14 - i, 8, dark);
      if (i < 8) put(size - 1 - i, 8, dark);
      else put(8, size - 15 + i, dark);
    }
    put(8, size - 8, true);
  }

  /** Codewords in columns of two, from the right, up and down in turn. @param {number[]} codewords */
  place(codewords) {
    const {size} = this;
    let i = 0;
    for (let right = size - 1; right >= 1; right -= 2) {
      if (right === 6) right = 5; // the timing pattern's column
      const upward = ((right + 1) & 2) === 0;
      for (let step = 0; step < size; step++) {
        const y = upward ? size - 1 - step : step;
        for (const x of [right, right - 1]) {
          if (this.frame[y][x]) continue;
          this.dark[y][x] = i < codewords.length * 8 && ((codewords[i >> 3] >>> (7 - (i & 7))) & 1) === 1;
          i++;
        }
      }
    }
  }

  /** @param {number} mask */
  masked(mask) {
    const out = this.dark.map((row, y) => row.map((dark, x) => (this.frame[y][x] ? dark : dark !== MASKS[mask](x, y))));
    this._format(out, mask);
    return out;
  }
}

/** How hard a pattern is to read: runs, squares, false finders, imbalance. @param {boolean[][]} rows */
function penalty(rows) {
  const size = rows.length;
  const lines = rows.map((row) => row.map(Number).join(''));
  const columns = rows.map((_, x) => rows.map((row) => Number(row[x])).join(''));
  let sum = 0;
  for (const line of [...lines, ...columns]) {
    for (const [run] of line.matchAll(/0{5,}|1{5,}/g)) sum += run.length - 2;
    for (const pattern of ['00001011101', '10111010000']) {
      for (let at = line.indexOf(pattern); at >= 0; at = line.indexOf(pattern, at + 1)) sum += 40;
    }
  }
  for (let y = 1; y < size; y++) {
    for (let x = 1; x < size; x++) {
      const dark = rows[y][x];
      if (dark === rows[y - 1][x] && dark === rows[y][x - 1] && dark === rows[y - 1][x - 1]) sum += 3;
    }
  }
  const dark = lines.join('').split('1').length - 1;
  return sum + 10 * Math.floor(Math.abs(20 * dark / (size * size) - 10));
}
