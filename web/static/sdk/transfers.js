// @ts-check
/**
 * Files over links: any size, with back-pressure to the other side's disk, verified block by
 * block, and taken up where they stopped when the path or the session was lost.
 *
 * As messages of a link, `{type: 'file', op, key, …}`:
 * `offer` {name, size, mime, print}, from the sender; repeated, it asks "where are we?";
 * `ask` {hash} without a key asks the same of somebody new: who knows a key with this SHA-256 is the receiver in a new
 * session and answers with it, from whatever session; nobody else learns of the file;
 * `go` {offset, start?, hash?}, from the receiver: send from there, my last block was [start, offset) with this SHA-256;
 * `got` {offset}: so much is written; `done`: all of it; `end` {reason}: from either side.
 *
 * As bytes: pieces of a block. Header of 24 bytes, big endian: key (8), offset (float64), 1 for the last piece of a
 * block (uint32), zero (uint32); in a last piece the SHA-256 of the block follows (32). Then the payload.
 * @module
 */

import {digest, hex} from './digest.js';
import {Emitter} from './emitter.js';
import {RtcdError} from './hub.js';

/** @typedef {import('./links.js').Links} Links */
/** @typedef {import('./links.js').Link} Link */
/** @typedef {import('./sinks.js').Sink} Sink */

const HEADER = 24;
const HASH = 32;
const PIECE = 32 * 1024 - HEADER - HASH; // bytes; fits a server message in base64 too
const BLOCK = {channel: 1 << 20, server: 128 << 10, none: 1 << 20}; // bytes between two hashes
const WINDOW = {channel: 8 << 20, server: 256 << 10, none: 0}; // bytes not yet written by the other side
const LARGEST_BLOCK = 4 << 20; // that a receiver keeps in memory
const CHANNEL_WITHIN = 8000; // ms; after that a transfer takes the server
const SILENCE = 15_000; // ms without bytes before the receiver asks again
const PRINTED = 64 * 1024; // bytes at the start by which a file is known again
const BAD_BLOCKS = 3; // in a row

/**
 * One file on its way. `state`: offered; running; paused (the path or the member is gone and may come
 * back); done; ended (`reason`: refused, cancelled, lost, changed, unreadable, damaged, unwritable).
 */
export class Transfer {
  /**
   * @param {'in'|'out'} direction
   * @param {Link} link
   * @param {{key: string, name: string, size: number, mime: string, print: string}} what
   */
  constructor(direction, link, what) {
    this.direction = direction;
    this.link = link;
    this.key = what.key;
    this.name = what.name;
    this.size = what.size;
    this.mime = what.mime;
    this.print = what.print;
    this.user = link.member?.user ?? '';
    /** @type {'offered'|'running'|'paused'|'done'|'ended'} */
    this.state = 'offered';
    this.reason = '';
    /** Bytes that the receiver has verified and written. */
    this.at = 0;
    /** What was received, where it did not go to the person's disk at once. @type {Blob|null} */
    this.blob = null;
    /** @type {File|Blob|null} */
    this.file = null;
    /** @type {Sink|null} */
    this.sink = null;
    /** An earlier transfer of the same file that this one can continue. @type {Transfer|null} */
    this.earlier = null;

    this.run = 0; // counts the beginnings: an older one stops
    /** @type {Uint8Array[]} pieces of the block that is arriving */
    this.pieces = [];
    this.expected = 0; // offset of the next piece
    this.heard = 0; // when the last piece came, ms
    this.bad = 0; // blocks in a row
    /** @type {{start: number, hash: string}|null} the last block written */
    this.last = null;
    this.queue = Promise.resolve();
    this.progress = new Emitter();
  }

  get over() {
    return this.state === 'done' || this.state === 'ended';
  }
}

/** All transfers of a page. Events: `offer` (an incoming Transfer), `change` (a Transfer). */
export class Transfers extends Emitter {
  constructor() {
    super();
    /** @type {Map<string, Transfer>} */
    this.all = new Map();
    this._watch = setInterval(() => this._lookForSilence(), 3000);
    /** @type {(() => void)[]} */
    this._off = [];
  }

  /** Takes the links of a room into use; again after each new session. @param {Links} links */
  bind(links) {
    this._off.forEach((off) => off());
    this._off = [
      links.on('message', ({link, data}) => data?.type === 'file' && this._message(link, data)),
      links.on('bytes', ({link, data}) => this._bytes(link, data)),
      links.on('link', (link) => this._remind(link)),
      links.on('gone', (link) => this._gone(link)),
      links.on('path', (link) => this._moved(link)),
    ];
    links.all.forEach((link) => this._remind(link));
  }

  /** Ends everything. */
  close() {
    clearInterval(this._watch);
    this._off.forEach((off) => off());
    for (const t of this.all.values()) if (!t.over) this.end(t, 'cancelled');
  }

  /**
   * Offers a file to a member.
   * @param {Link} link
   * @param {File|Blob} file
   * @param {string} [name]  default: the file's own
   */
  async offer(link, file, name = file instanceof File ? file.name : 'file') {
    const start = new Uint8Array(await file.slice(0, PRINTED).arrayBuffer());
    const t = new Transfer('out', link, {
      key: hex(crypto.getRandomValues(new Uint8Array(8))),
      name, size: file.size, mime: file.type, print: hex(await digest(start)),
    });
    t.file = file;
    this.all.set(t.key, t);
    this._offer(t);
    this._changed(t);
    return t;
  }

  /**
   * Accepts an incoming file; without a sink it goes on where the earlier attempt stopped.
   * @param {Transfer} t
   * @param {Sink} [sink]
   */
  async accept(t, sink) {
    const {earlier} = t;
    await earlier?.queue; // what it was just writing counts
    if (t.direction !== 'in' || t.state !== 'offered') return;
    if (sink) {
      t.sink = sink;
    } else if (earlier?.sink) {
      Object.assign(t, {sink: earlier.sink, at: earlier.at, last: earlier.last});
      earlier.sink = null;
      this.all.delete(earlier.key);
    } else {
      throw new RtcdError('no-sink', 'where is the file to go?');
    }
    t.state = 'running';
    this._go(t);
    if (t.size === t.at) await this._finish(t);
  }

  /**
   * Ends a transfer; the other side hears the reason.
   * @param {Transfer} t
   * @param {string} reason  cancelled, refused, …
   */
  end(t, reason) {
    if (t.over) return;
    if (!t.link.closed) t.link.send({type: 'file', op: 'end', key: t.key, reason});
    this._ended(t, reason);
  }

  // ---- both sides

  /** @param {Link} link @param {any} m */
  _message(link, m) {
    if (m.op === 'offer') {
      this._offered(link, m);
      return;
    }
    if (m.op === 'ask') {
      this._known(m.hash).then((t) => t && this._asked(t, link));
      return;
    }
    const t = this.all.get(m.key);
    if (!t) return;
    if (m.op !== 'got') t.link = link; // who knows the key is the other side, perhaps in a new session
    if (t.link !== link) return;
    if (m.op === 'end') this._ended(t, String(m.reason));
    else if (t.direction !== 'out' || t.over) return;
    else if (m.op === 'go') this._start(t, m);
    else if (m.op === 'got') this._confirm(t, m.offset);
    else if (m.op === 'done') this._confirm(t, t.size, 'done');
  }

  /** @param {Transfer} t @param {string} reason */
  _ended(t, reason) {
    if (t.over) return;
    t.state = 'ended';
    t.reason = reason;
    t.run++;
    // What is written of an interrupted file is kept, to go on if it is offered again.
    const keep = t.sink && t.at > 0 && (reason === 'cancelled' || reason === 'unreadable');
    if (!keep) this._discard(t);
    t.pieces = [];
    t.progress.emit('got');
    this._changed(t);
  }

  /** @param {Transfer} t */
  _discard(t) {
    t.sink?.abort().catch(() => {});
    t.sink = null;
  }

  /** Forgets one that is over. @param {Transfer} t */
  forget(t) {
    if (!t.over) return;
    this._discard(t);
    this.all.delete(t.key);
    this._changed(t);
  }

  /** @param {Transfer} t */
  _changed(t) {
    this.emit('change', t);
  }

  /** @param {Link} link */
  _gone(link) {
    for (const t of this.all.values()) {
      if (t.link !== link || t.over) continue;
      t.run++;
      if (t.state === 'offered' && t.direction === 'in') this._ended(t, 'lost');
      else t.state = 'paused';
      t.progress.emit('got');
      this._changed(t);
    }
  }

  // ---- the sender's side

  /** @param {Transfer} t */
  _offer({link, key, name, size, mime, print}) {
    if (!link.closed) link.send({type: 'file', op: 'offer', key, name, size, mime, print});
  }

  /** Somebody came, perhaps again: what was on the way to them goes on. @param {Link} link */
  async _remind(link) {
    for (const t of this.all.values()) {
      if (t.direction !== 'out' || t.over || t.link === link) continue;
      const hash = await fingerprint(t);
      if (!t.over && !link.closed) link.send({type: 'file', op: 'ask', hash});
    }
  }

  /** @param {Transfer} t @param {any} m */
  async _start(t, m) {
    const {offset, start, hash} = m;
    if (!Number.isInteger(offset) || offset < 0 || offset > t.size) return;
    const run = ++t.run;
    t.state = 'running';
    this._changed(t);
    try {
      if (Number.isInteger(start) && start < offset && offset - start <= LARGEST_BLOCK) {
        const same = hex(await digest(await read(t, start, offset))) === hash;
        if (!same) {
          this.end(t, 'changed');
          return;
        }
      }
      if (t.run !== run) return;
      t.at = offset;
      await this._stream(t, run, offset);
    } catch (e) {
      if (t.run !== run || t.over) return;
      if (e instanceof RtcdError) await this._wait(t, run);
      else this.end(t, 'unreadable');
    }
  }

  /** @param {Transfer} t @param {number} run @param {number} offset */
  async _stream(t, run, offset) {
    const path = await t.link.settled(CHANNEL_WITHIN);
    while (offset < t.size && t.run === run) {
      const end = Math.min(t.size, offset + BLOCK[path]);
      const block = await read(t, offset, end);
      const hash = await digest(block);
      for (let p = 0; p < block.length && t.run === run; p += PIECE) {
        const payload = block.subarray(p, p + PIECE);
        await t.link.sendBytes(pieceOf(t.key, offset + p, payload, p + PIECE >= block.length ? hash : null));
      }
      offset = end;
      while (t.run === run && offset - t.at > WINDOW[path]) await once(t.progress, 'got');
    }
  }

  /** The path changed under the transfer: asks the receiver where to go on, on the new one. @param {Transfer} t @param {number} run */
  async _wait(t, run) {
    t.state = 'paused';
    this._changed(t);
    await t.link.settled(CHANNEL_WITHIN);
    if (t.run === run && !t.over) this._offer(t);
  }

  /** @param {Transfer} t @param {any} offset @param {'running'|'done'} [state] */
  _confirm(t, offset, state = t.state === 'paused' ? 'running' : /** @type {any} */ (t.state)) {
    if (!Number.isInteger(offset) || offset < t.at || offset > t.size) return;
    t.at = offset;
    t.state = state;
    t.progress.emit('got');
    this._changed(t);
  }

  // ---- the receiver's side

  /** @param {Link} link @param {any} m */
  _offered(link, m) {
    const known = this.all.get(m.key);
    if (known) {
      if (known.direction === 'in') this._asked(known, link);
      return;
    }
    const {key, name, size, mime, print} = m;
    if (!/^[0-9a-f]{16}$/.test(key) || typeof name !== 'string' || !Number.isSafeInteger(size) || size < 0) return;
    const t = new Transfer('in', link, {key, name: safeName(name), size, mime: String(mime ?? ''), print: String(print)});
    t.earlier = [...this.all.values()].find((e) => e.direction === 'in' && e.sink && e.size === size &&
      e.print === t.print && (e.state === 'ended' || e.state === 'paused')) ?? null;
    this.all.set(key, t);
    this.emit('offer', t);
    this._changed(t);
  }

  /** The incoming transfer whose key has this hash. @param {string} hash */
  async _known(hash) {
    for (const t of this.all.values()) {
      if (t.direction === 'in' && await fingerprint(t) === hash) return t;
    }
    return null;
  }

  /**
   * The sender asks where we are; perhaps in a new session, while its old one still counts as away.
   * That it is the sender shows by the key, or its hash, which nobody else was told.
   * @param {Transfer} t
   * @param {Link} link
   */
  _asked(t, link) {
    t.link = link;
    if (t.state === 'done') link.send({type: 'file', op: 'done', key: t.key});
    else if (t.state === 'ended' && t.reason === 'lost') this._offeredAgain(t);
    else if (t.state === 'ended') link.send({type: 'file', op: 'end', key: t.key, reason: t.reason});
    else if (t.state !== 'offered') this._go(t);
  }

  /** Nobody had answered the offer when its sender was lost. @param {Transfer} t */
  _offeredAgain(t) {
    t.state = 'offered';
    t.reason = '';
    this.emit('offer', t);
    this._changed(t);
  }

  /** Asks for everything from what is written on. @param {Transfer} t */
  _go(t) {
    t.run++;
    t.state = 'running';
    t.pieces = [];
    t.expected = t.at;
    t.heard = Date.now();
    const {start, hash} = t.last ?? {};
    if (!t.link.closed) t.link.send({type: 'file', op: 'go', key: t.key, offset: t.at, start, hash});
    this._changed(t);
  }

  /** What was on the old path may be lost: asks for it on the new one. @param {Link} link */
  async _moved(link) {
    const mine = [...this.all.values()].filter((t) => t.link === link && t.direction === 'in' && t.state === 'running');
    const runs = new Map(mine.map((t) => [t, t.run]));
    await link.settled(CHANNEL_WITHIN);
    for (const [t, run] of runs) {
      if (t.run === run && t.state === 'running' && !link.closed && t.at < t.size) this._go(t);
    }
  }

  _lookForSilence() {
    for (const t of this.all.values()) {
      const waits = t.direction === 'in' && t.state === 'running' && t.at < t.size;
      if (waits && !t.link.closed && Date.now() - t.heard > SILENCE) this._go(t);
    }
  }

  /** @param {Link} link @param {ArrayBuffer} buffer */
  _bytes(link, buffer) {
    if (!(buffer instanceof ArrayBuffer) || buffer.byteLength < HEADER) return;
    const view = new DataView(buffer);
    const t = this.all.get(hex(new Uint8Array(buffer, 0, 8)));
    if (!t || t.direction !== 'in' || t.link !== link || t.state !== 'running') return;
    const isLast = view.getUint32(16) === 1;
    if (isLast && buffer.byteLength < HEADER + HASH) return;
    t.heard = Date.now();
    if (view.getFloat64(8) !== t.expected) return; // left over from before
    const payload = new Uint8Array(buffer, isLast ? HEADER + HASH : HEADER);
    t.pieces.push(payload);
    t.expected += payload.length;
    const length = t.pieces.reduce((sum, p) => sum + p.length, 0);
    if (length > LARGEST_BLOCK || t.expected > t.size) {
      this.end(t, 'damaged');
      return;
    }
    if (!isLast) return;
    const {pieces, run} = t;
    const hash = new Uint8Array(buffer, HEADER, HASH);
    const start = t.expected - length;
    t.pieces = [];
    t.queue = t.queue.then(() => this._block(t, run, start, join(pieces, length), hex(hash)));
  }

  /** @param {Transfer} t @param {number} run @param {number} start @param {Uint8Array} block @param {string} hash */
  async _block(t, run, start, block, hash) {
    if (t.run !== run || t.over || start !== t.at) return;
    if (hex(await digest(block)) !== hash) {
      if (++t.bad >= BAD_BLOCKS) this.end(t, 'damaged');
      else if (t.run === run) this._go(t);
      return;
    }
    if (t.run !== run || t.over) return;
    try {
      await t.sink?.write(block);
    } catch {
      this.end(t, 'unwritable');
      return;
    }
    t.bad = 0;
    t.at = start + block.length;
    t.last = {start, hash};
    t.heard = Date.now();
    if (t.over) return;
    if (t.run !== run) { // the sender was told an older place
      this._go(t);
      return;
    }
    if (!t.link.closed) t.link.send({type: 'file', op: 'got', key: t.key, offset: t.at});
    if (t.at === t.size) await this._finish(t);
    else this._changed(t);
  }

  /** @param {Transfer} t */
  async _finish(t) {
    try {
      t.blob = await t.sink?.close() ?? null;
    } catch {
      this.end(t, 'unwritable');
      return;
    }
    t.sink = null;
    t.state = 'done';
    if (!t.link.closed) t.link.send({type: 'file', op: 'done', key: t.key});
    this._changed(t);
  }
}

/** @param {Transfer} t @param {number} start @param {number} end */
async function read(t, start, end) {
  return new Uint8Array(await /** @type {Blob} */ (t.file).slice(start, end).arrayBuffer());
}

/** Of the key, for asking who else knows it. @param {Transfer} t */
async function fingerprint(t) {
  return hex(await digest(new TextEncoder().encode(t.key)));
}

/** @param {string} key @param {number} offset @param {Uint8Array} payload @param {Uint8Array|null} hash */
function pieceOf(key, offset, payload, hash) {
  const bytes = new Uint8Array(HEADER + (hash ? HASH : 0) + payload.length);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 8; i++) bytes[i] = parseInt(key.slice(2 * i, 2 * i + 2), 16);
  view.setFloat64(8, offset);
  view.setUint32(16, hash ? 1 : 0);
  if (hash) bytes.set(hash, HEADER);
  bytes.set(payload, bytes.length - payload.length);
  return bytes.buffer;
}

/** @param {Uint8Array[]} pieces @param {number} length */
function join(pieces, length) {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** A name for one file and not a path, whatever the other side claims. @param {string} name */
function safeName(name) {
  const clean = name.replace(/[\u0000-\u001f\u007f/\\:*?"<>|\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '_').replace(/^\.+/, '_').trim();
  return clean.slice(0, 200) || 'file';
}

/** @param {Emitter} emitter @param {string} type */
function once(emitter, type) {
  return new Promise((resolve) => emitter.addEventListener(type, resolve, {once: true}));
}
