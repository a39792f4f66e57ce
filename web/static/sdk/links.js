// @ts-check
/** Data to the members of a room: over data channels, through the server where none is open. @module */

import {connectionInfo} from './connection.js';
import {Emitter} from './emitter.js';
import {RtcdError} from './hub.js';

/** @typedef {import('./hub.js').Hub} Hub */
/** @typedef {import('./call.js').Call} Call */
/** @typedef {import('./call.js').Peer} Peer */
/**
 * How data reaches a member now: a {@link ConnectionInfo} with one more state, `server`.
 * `none` means that it waits.
 * @typedef {Omit<import('./connection.js').ConnectionInfo, 'state'> & {state: 'direct'|'relayed'|'server'|'none'}} LinkInfo
 */

const EVENT = 'rtcd.link'; // of the `message` verb
const BYTES = 'rtcd.bytes';
const LARGEST = 48 * 1024; // of one message: with what the server adds it stays under its 64 KiB
const QUEUE = 1000; // messages that wait for the other side's receipt
const ACK_AFTER = 150; // ms; many messages, one receipt
const AGAIN_AFTER = 10_000; // ms without a receipt
const HIGH = 1 << 20; // bytes in the channel's buffer where sending pauses …
const LOW = 256 << 10; // … and goes on
const SERVER_SHARE = 4; // a transfer takes a fourth of the messages that the server admits
const SERVER_MOST = 12; // a second

/**
 * @typedef {Object} LinksOptions
 * @property {Call} [call]       the connections to use; without it everything goes through the server
 * @property {string} [role]     links only to members with this role ("": those without one); default everyone
 * @property {boolean} [fallback]  whether the server may carry what no data channel does, default true
 */

/**
 * One {@link Link} to each other member of a room. Create it right after the Call.
 * Events: `link` (a new Link), `gone` (one that ended), `message` {link, data},
 * `bytes` {link, data}, `path` (the Link whose path changed), `info` (the Link that was measured).
 */
export class Links extends Emitter {
  /** @param {Hub} hub @param {string} room @param {LinksOptions} [options] */
  constructor(hub, room, {call, role, fallback = true} = {}) {
    super();
    this.hub = hub;
    this.room = room;
    this.role = role;
    this.fallback = fallback;
    /** @type {Map<string, Link>} by the member's id */
    this.all = new Map();
    const drop = () => [...this.all.keys()].forEach((id) => this._drop(id));
    this._off = [
      call?.on('peer', (peer) => this._link(peer.id)?.attach(peer)),
      call?.on('gone', (peer) => this.all.get(peer.id)?.detach(peer)),
      hub.on('restart', drop),
      hub.on('joined', (m) => m.room === room && m.peers.forEach((/** @type {any} */ p) => this._link(p.peer))),
      hub.on('peer', (m) => {
        if (m.room !== room) return;
        if (m.event !== 'leave') this._link(m.peer);
        else if (m.peer === hub.peer) drop();
        else this._drop(m.peer);
      }),
      hub.on('message', (m) => this._message(m)),
    ];
    for (const id of hub.rooms.get(room)?.keys() ?? []) this._link(id);
    call?.peers.forEach((peer) => this._link(peer.id)?.attach(peer));
    this._timer = setInterval(() => this.all.forEach((link) => link.measure()), 2000);
  }

  /**
   * Sends to everyone; resolves when each has it or is gone.
   * @param {any} data
   * @returns {Promise<{sent: number, received: number}>}
   */
  async broadcast(data) {
    const results = await Promise.allSettled([...this.all.values()].map((link) => link.send(data)));
    return {sent: results.length, received: results.filter((r) => r.status === 'fulfilled').length};
  }

  /** Ends all links; the connections and the room stay. */
  close() {
    clearInterval(this._timer);
    this._off.forEach((off) => off?.());
    for (const id of [...this.all.keys()]) this._drop(id);
  }

  /** @param {string} id @returns {Link|undefined} */
  _link(id) {
    const known = this.all.get(id);
    const member = this.hub.rooms.get(this.room)?.get(id);
    if (known || !member || (this.role !== undefined && (member.role ?? '') !== this.role)) return known;
    const link = new Link(this.hub, this.room, id, this.fallback);
    this.all.set(id, link);
    link.on('message', (data) => this.emit('message', {link, data}));
    link.on('bytes', (data) => this.emit('bytes', {link, data}));
    link.on('path', () => this.emit('path', link));
    link.on('info', () => this.emit('info', link));
    this.emit('link', link);
    return link;
  }

  /** @param {string} id */
  _drop(id) {
    const link = this.all.get(id);
    if (!link) return;
    this.all.delete(id);
    link.close();
    this.emit('gone', link);
  }

  /** @param {any} m */
  _message(m) {
    if (m.event !== EVENT && m.event !== BYTES) return;
    const link = this.all.get(m.from);
    if (m.event === EVENT) link?.take(m.data);
    else if (typeof m.data === 'string') link?.emit('bytes', fromBase64(m.data));
  }
}

/**
 * The way to one member. Messages arrive once and in order, whatever happens to the path:
 * each has a number, the other side says how far it has read, and when the path changes
 * everything it has not read is sent again on the new one. Bytes are only as reliable as
 * the path; who sends them must be able to begin again.
 *
 * Events: `message` (data), `bytes` (ArrayBuffer), `path` ('channel', 'server' or 'none'),
 * `info` ({@link LinkInfo}).
 */
export class Link extends Emitter {
  /** @param {Hub} hub @param {string} room @param {string} id @param {boolean} fallback */
  constructor(hub, room, id, fallback) {
    super();
    this.hub = hub;
    this.room = room;
    this.id = id;
    this.fallback = fallback;
    this.closed = false;
    /** @type {Peer|null} */
    this.peer = null;
    /** @type {'channel'|'server'|'none'} */
    this.path = fallback ? 'server' : 'none';
    /** @type {LinkInfo} */
    this.info = this._without(null);
    this._sent = 0;
    this._seen = 0;
    /** @type {{n: number, text: string, out: boolean, done: () => void, fail: (e: Error) => void}[]} */
    this._unread = [];
    this._detach = new AbortController();
    this._pinged = 0;
    this._lastBytes = 0;
    /** @type {Record<string, ReturnType<typeof setTimeout>|undefined>} */
    this._timers = {};
  }

  /** The member, as the room knows it; undefined after it left. */
  get member() {
    return this.hub.rooms.get(this.room)?.get(this.id);
  }

  /**
   * Sends JSON; resolves when the other side has it, rejects with `gone` if it left before.
   * Throws `too-big` over 48 KiB and `busy` when 1000 messages wait.
   * @param {any} data
   * @returns {Promise<void>}
   */
  send(data) {
    const text = JSON.stringify(data);
    if (this.closed) return Promise.reject(new RtcdError('gone', 'the member has left'));
    if (byteLength(text) > LARGEST) throw new RtcdError('too-big', `more than ${LARGEST} bytes`);
    if (this._unread.length >= QUEUE) throw new RtcdError('busy', `${QUEUE} messages are unread`);
    /** @type {Promise<void>} */
    const read = new Promise((done, fail) => {
      this._unread.push({n: ++this._sent, text, out: false, done, fail});
    });
    read.catch(() => {}); // who does not wait for it need not handle its end
    this._flush();
    return read;
  }

  /**
   * Sends bytes, at most 32 KiB; resolves when more may be sent. Rejects with `moved` when
   * the path changes meanwhile: what was on the way may be lost.
   * @param {ArrayBuffer} buffer
   */
  async sendBytes(buffer) {
    const {path} = this;
    if (this.closed || path === 'none') throw new RtcdError(this.closed ? 'gone' : 'moved');
    if (path === 'channel') await this._intoChannel(buffer);
    else await this._throughServer(buffer);
    if (this.closed || this.path !== path) throw new RtcdError(this.closed ? 'gone' : 'moved');
  }

  /**
   * Resolves with the path, as soon as it is a data channel or this long has passed.
   * @param {number} ms
   * @returns {Promise<Link['path']>}
   */
  settled(ms) {
    if (this.path === 'channel' || this.closed || !this.peer) return Promise.resolve(this.path);
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        off();
        resolve(this.path);
      };
      const timer = setTimeout(end, ms);
      const off = this.on('path', end);
    });
  }

  /** Takes a connection into use. @param {Peer} peer */
  attach(peer) {
    this._detach.abort();
    this._detach = new AbortController();
    const {signal} = this._detach;
    this.peer = peer;
    const {channel} = peer;
    channel.binaryType = 'arraybuffer';
    channel.bufferedAmountLowThreshold = LOW;
    channel.addEventListener('message', (e) => this._fromChannel(e.data), {signal});
    channel.addEventListener('open', () => this._moved(), {signal});
    channel.addEventListener('close', () => this._moved(), {signal});
    peer.addEventListener('state', () => this._moved(), {signal});
    this._moved();
  }

  /** The connection is gone, the member is not. @param {Peer} peer */
  detach(peer) {
    if (peer !== this.peer) return;
    this._detach.abort();
    this.peer = null;
    this._moved();
  }

  /** The room's end of a link; others call {@link Links}.close. */
  close() {
    this.closed = true;
    this._detach.abort();
    for (const timer of Object.values(this._timers)) clearTimeout(timer);
    const error = new RtcdError('gone', 'the member has left');
    for (const {fail} of this._unread.splice(0)) fail(error);
    this.emit('path', this.path); // whoever waits for the channel waits no longer
  }

  /** Finds out how this link runs; {@link Links} does it every two seconds. */
  async measure() {
    if (this.path === 'channel' && this.peer) {
      const info = await connectionInfo(this.peer.pc).catch(() => null);
      if (info && info.state !== 'none') this._inform(info);
      return;
    }
    this._inform(this._without(this.info.state === 'server' ? this.info.rtt : null));
    if (this.path !== 'server' || this.member?.away || Date.now() - this._pinged < 10_000) return;
    this._pinged = Date.now();
    this._post({p: this._pinged});
  }

  /** A message of ours from the other side, by whatever way. @param {any} m */
  take(m) {
    if (typeof m !== 'object' || m === null || this.closed) return;
    if (Number.isInteger(m.a)) this._read(m.a);
    if (Number.isInteger(m.p)) this._post({q: m.p});
    if (m.q === this._pinged && this.path === 'server') {
      this._inform(this._without(Date.now() - this._pinged));
    }
    if (!Number.isInteger(m.n)) return;
    this._timers.ack ??= setTimeout(() => this._acknowledge(), ACK_AFTER);
    if (m.n !== this._seen + 1) return; // known, or after a gap: it comes again
    this._seen = m.n;
    this.emit('message', m.d);
  }

  // ---- paths

  _moved() {
    const {peer} = this;
    const open = peer?.channel.readyState === 'open' && peer.pc.connectionState === 'connected';
    const path = open ? 'channel' : this.fallback ? 'server' : 'none';
    if (path === this.path || this.closed) return;
    this.path = path;
    this._again();
    this.emit('path', path);
    this.measure();
  }

  /** @param {LinkInfo} info */
  _inform(info) {
    this.info = info;
    this.emit('info', info);
  }

  /** @param {number|null} rtt @returns {LinkInfo} */
  _without(rtt) {
    return {state: this.path === 'server' ? 'server' : 'none', via: null, protocol: null, family: null, local: null,
      remote: null, rtt, sending: null, receiving: null};
  }

  // ---- messages

  /** @param {any} data */
  _fromChannel(data) {
    if (typeof data !== 'string') {
      this.emit('bytes', data);
      return;
    }
    try {
      this.take(JSON.parse(data));
    } catch { /* another program's text on a channel that we share */ }
  }

  _flush() {
    for (const frame of this._unread) {
      if (frame.out) continue;
      frame.out = this._post(`{"n":${frame.n},"a":${this._seen},"d":${frame.text}}`);
    }
    if (this._unread.length) this._timers.again ??= setTimeout(() => this._silence(), AGAIN_AFTER);
  }

  /** No receipt for long. What goes to a member who is away is kept by the server. */
  _silence() {
    this._timers.again = undefined;
    if (this.member?.away) this._flush();
    else this._again();
  }

  /** Everything unread once more: after a change of path, a refusal, or a long silence. */
  _again() {
    clearTimeout(this._timers.again);
    this._timers.again = undefined;
    for (const frame of this._unread) frame.out = false;
    this._flush();
  }

  _acknowledge() {
    this._timers.ack = undefined;
    this._post({a: this._seen});
  }

  /** @param {number} n */
  _read(n) {
    while (this._unread.length && this._unread[0].n <= n) this._unread.shift()?.done();
    if (this._unread.length) return;
    clearTimeout(this._timers.again);
    this._timers.again = undefined;
  }

  /** @param {object|string} m  ready JSON, or what becomes it @returns {boolean} whether it is on its way */
  _post(m) {
    if (this.path === 'channel' && this.peer) {
      try {
        this.peer.channel.send(typeof m === 'string' ? m : JSON.stringify(m));
        return true;
      } catch { // the channel is closing, which will be said in a moment
        return false;
      }
    }
    if (this.path === 'none') return false;
    this.hub.message(this.id, typeof m === 'string' ? JSON.parse(m) : m, {event: EVENT})
      .catch((e) => this._refused(e));
    return true;
  }

  /** @param {RtcdError} e */
  _refused(e) {
    if (e.code === 'forbidden') { // this token may not send through the server
      this.fallback = false;
      this._moved();
    } else if (e.code === 'rate' || e.code === 'busy') {
      clearTimeout(this._timers.again);
      this._timers.again = setTimeout(() => this._again(), 1000 + 1000 * Math.random());
    }
  }

  // ---- bytes

  /** @param {ArrayBuffer} buffer */
  async _intoChannel(buffer) {
    const channel = /** @type {Peer} */ (this.peer).channel;
    if (channel.bufferedAmount > HIGH) {
      await new Promise((resolve) => {
        const done = () => {
          channel.removeEventListener('bufferedamountlow', done);
          off();
          resolve(undefined);
        };
        const off = this.on('path', done);
        channel.addEventListener('bufferedamountlow', done);
      });
    }
    if (this.path !== 'channel') return;
    try {
      channel.send(buffer);
    } catch {
      throw new RtcdError('moved');
    }
  }

  /** @param {ArrayBuffer} buffer */
  async _throughServer(buffer) {
    const most = Math.min(SERVER_MOST, (this.hub.limits.rate || 50) / SERVER_SHARE);
    const wait = this._lastBytes + 1000 / most - Date.now();
    this._lastBytes = Math.max(Date.now(), this._lastBytes + 1000 / most);
    if (wait > 0) await pause(wait);
    if (this.path !== 'server') return;
    try {
      await this.hub.message(this.id, toBase64(buffer), {event: BYTES});
    } catch (e) {
      if (!(e instanceof RtcdError) || (e.code !== 'rate' && e.code !== 'busy')) throw e;
      await pause(1000);
      await this._throughServer(buffer);
    }
  }
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** @param {string} text  in UTF-8 */
function byteLength(text) {
  return text.length * 3 < LARGEST ? text.length : new TextEncoder().encode(text).length;
}

/** @param {ArrayBuffer} buffer */
function toBase64(buffer) {
  const bytes = new Uint8Array(buffer);
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

/** @param {string} text @returns {ArrayBuffer}  empty if it is no base64 */
function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  } catch {
    return new ArrayBuffer(0);
  }
}
