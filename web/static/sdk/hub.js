// @ts-check
/** The session on the hub; see PROTOCOL.md. @module */

import {Emitter} from './emitter.js';

/** The WebSocket subprotocol that this library speaks. */
export const PROTOCOL = 'rtcd.v1';

/** @typedef {{urls: string|string[], username?: string, credential?: string}} IceServer */
/**
 * A member of a room, as this client sees it.
 * @typedef {Object} Member
 * @property {string} peer      id, given by the server
 * @property {string} [user]    name
 * @property {string} [role]
 * @property {any} [data]       presence, as the member set it
 * @property {boolean} [polite] whether *this* client yields when both offer at once
 * @property {boolean} [away]   its socket is lost, it may still come back
 */
/**
 * @typedef {Object} HubOptions
 * @property {string} [url]    ws: or wss: address; default: /ws of the page's own host
 * @property {string|(() => string|Promise<string>)} [token]  join token, or what fetches one
 * @property {string} [room]   joined with the hello
 * @property {string} [role]
 * @property {string} [name]   shown to others unless the token fixes another
 * @property {any} [data]      presence, at most 1 KiB
 * @property {number} [limit]  most members, heard from the one who makes the room
 * @property {boolean} [report]  false: do not tell the server how connections came about
 * @property {AbortSignal} [signal]  ends the hub when aborted
 */

/** What the server refused, or why a session ended. `code` is for programs. */
export class RtcdError extends Error {
  /** @param {string} code @param {string} [message] */
  constructor(code, message) {
    super(message || code);
    this.name = 'RtcdError';
    this.code = code;
  }
}

/**
 * Opens a session and resolves when the server has welcomed it (and, if a room was
 * named, it is joined). An unreachable server is tried again with growing delays;
 * a refusal rejects with an {@link RtcdError}.
 * @param {HubOptions} [options]
 * @returns {Promise<Hub>}
 */
export async function connect(options = {}) {
  const hub = new Hub(options);
  await hub.open();
  return hub;
}

const PING_EVERY = 20_000; // ms; also tells the server how far we have read
const PONG_WITHIN = 10_000; // ms; after that the socket is taken for dead
const PONG_SOON = 3_000; // ms; the same when the network or the page has just woken up
const FIRST_DELAY = 500; // ms before the first new attempt, doubling, with jitter
const LONGEST_DELAY = 15_000;
const OUTBOX = 256; // frames kept while the server has not confirmed them

/** After these close codes a session is over, but a new one may be begun. */
const BEGIN_ANEW = new Set([1009, 4408, 4410, 4429]);
/** After these nothing is tried again; the value is the error's code if the server gave none. */
const FINAL = new Map([[1000, 'closed'], [4400, 'protocol'], [4401, 'unauthorized'],
  [4403, 'forbidden'], [4409, 'taken-over']]);

/**
 * One session on the hub. It outlives its sockets: a lost one is replaced, nothing
 * is lost and nothing comes twice; where the server cannot resume, a new session
 * joins the same rooms and `restart` is emitted.
 *
 * Events (`hub.on(type, detail => …)`):
 * `state` {state, retryIn?, attempt?, error?} with state connecting | open | reconnecting | closed;
 * `joined` {room, peers}; `peer` {room, event, peer, …}; `signal`; `message`;
 * `ice` {iceServers, ttl}; `restart` {}; `problem` RtcdError without a caller.
 */
export class Hub extends Emitter {
  /** @param {HubOptions} [options] */
  constructor(options = {}) {
    super();
    this.options = options;
    /** @type {'idle'|'connecting'|'open'|'reconnecting'|'closed'} */
    this.state = 'idle';
    /** My id; changes only with `restart`. */
    this.peer = '';
    this.user = '';
    /** @type {Map<string, Map<string, Member>>} members by room and id, without myself */
    this.rooms = new Map();
    /** @type {IceServer[]} the newest credentials */
    this.iceServers = [];
    /** @type {Record<string, number>} */
    this.limits = {};
    /** @type {RtcdError|null} why it is closed */
    this.error = null;

    /** @type {WebSocket|null} */
    this._socket = null;
    this._begun = false; // has there been a session
    this._resume = '';
    this._seen = 0; // seq of the newest message from the server
    this._sent = 0; // frames sent in this session, hello and ping not counted
    /** @type {{n: number, text: string}[]} frames that the server has not confirmed */
    this._outbox = [];
    /** @type {Map<string, {n: number, resolve: (m: any) => void, reject: (e: RtcdError) => void}>} */
    this._waiting = new Map();
    this._ids = 0;
    this._attempt = 0;
    this._retryAfter = 0;
    /** @type {Map<string, object>} joins to repeat in a new session */
    this._joins = new Map();
    /** @type {Record<string, ReturnType<typeof setTimeout>|undefined>} */
    this._timers = {};
    /** @type {{resolve: () => void, reject: (e: RtcdError) => void}|null} */
    this._opening = null;
    this._wake = () => this._nudge();
  }

  /** Where the hub is. */
  get url() {
    return this.options.url || defaultURL();
  }

  /** Starts the session; resolves with the first welcome. */
  open() {
    if (this.state !== 'idle') return Promise.reject(new RtcdError('state', 'already opened'));
    const {signal} = this.options;
    signal?.addEventListener('abort', () => this.close(), {once: true});
    globalThis.addEventListener?.('online', this._wake);
    globalThis.document?.addEventListener('visibilitychange', this._wake);
    return new Promise((resolve, reject) => {
      this._opening = {resolve: () => resolve(undefined), reject};
      this._setState('connecting');
      this._dial();
    });
  }

  /**
   * Joins a room; the answer lists who is there. The newcomer offers.
   * @param {string} room
   * @param {{role?: string, data?: any, replace?: boolean, limit?: number}} [more]
   * @returns {Promise<{room: string, peers: Member[]}>}
   */
  async join(room, more = {}) {
    const joined = await this._request({type: 'join', room, ...more});
    this._joins.set(room, more);
    return joined;
  }

  /** @param {string} room @param {{peer?: string, reason?: string, ban?: number}} [more] */
  async leave(room, more = {}) {
    await this._request({type: 'leave', room, ...more});
    if (!more.peer || more.peer === this.peer) this._forget(room);
  }

  /**
   * Sends a signal to a peer id, `@user`, `#room` or `#room/role`; resolves with the
   * number of members reached, rejects with `absent` if there is none.
   * @param {string} to
   * @param {string} kind
   * @param {any} [data]
   * @param {{conn?: string, wait?: number}} [more]
   * @returns {Promise<number>}
   */
  async signal(to, kind, data, more = {}) {
    return (await this._request({type: 'signal', to, kind, data, ...more})).n;
  }

  /**
   * Sends application data through the server: the way to a whole room, and the
   * fallback where no data channel is open.
   * @param {string} to
   * @param {any} data
   * @param {{event?: string, echo?: boolean}} [more]
   * @returns {Promise<number>}
   */
  async message(to, data, more = {}) {
    return (await this._request({type: 'message', to, data, ...more})).n;
  }

  /** Replaces my presence. @param {any} data @param {{room?: string, role?: string}} [more] */
  async update(data, more = {}) {
    this.options = {...this.options, data};
    await this._request({type: 'update', data, ...more});
  }

  /** Asks for fresh TURN credentials. @returns {Promise<IceServer[]>} */
  async ice() {
    return (await this._request({type: 'ice'})).iceServers;
  }

  /** Ends the session for good: the others see me leave at once. */
  close() {
    if (this.state === 'closed') return;
    if (this._socket?.readyState === WebSocket.OPEN) {
      this._socket.send(JSON.stringify({type: 'bye'}));
      this._socket.close(1000);
    }
    this._end(new RtcdError('closed'));
  }

  // ---- sockets

  async _dial() {
    let token;
    try {
      const {token: source} = this.options;
      token = typeof source === 'function' ? await source() : source;
    } catch (e) {
      this._end(new RtcdError('unauthorized', String(e)));
      return;
    }
    if (this.state === 'closed') return;
    let socket;
    try {
      socket = new WebSocket(this.url, PROTOCOL);
    } catch (e) {
      this._end(new RtcdError('bad-url', String(e)));
      return;
    }
    this._socket = socket;
    /** @type {RtcdError|null} */
    let refusal = null;
    let welcomed = false;
    socket.onopen = () => socket.send(JSON.stringify(this._hello(token)));
    socket.onmessage = ({data}) => {
      if (socket !== this._socket) return;
      const m = JSON.parse(data);
      if (m.type === 'welcome') {
        welcomed = true;
        this._welcome(m);
      } else if (!welcomed && m.type === 'error') {
        refusal = new RtcdError(m.code, m.message);
      } else {
        this._receive(m);
      }
    };
    socket.onclose = ({code}) => {
      if (socket === this._socket) this._lost(code, refusal);
    };
  }

  /** The same hello each time, so that the server may begin a new session where it cannot resume. */
  _hello(/** @type {string|undefined} */ token) {
    const {room, role, name, data, limit} = this.options;
    const hello = {type: 'hello', token, user: name, data, room, role, limit};
    return this._resume ? {...hello, resume: this._resume, seq: this._seen} : hello;
  }

  /** @param {any} m */
  _welcome(m) {
    const restarted = this._begun && !m.resumed;
    this._begun = true;
    if (!m.resumed) this._reset();
    Object.assign(this, {peer: m.peer, user: m.user ?? '', limits: m.limits ?? {}});
    this._resume = m.resume;
    this._attempt = 0;
    if (m.ice) this._ice(m.ice);
    if (m.resumed) {
      this._confirmed(m.got);
      for (const {text} of this._outbox) this._socket?.send(text);
    }
    this._setState('open');
    this._schedulePing();
    if (restarted) this.emit('restart', {});
    for (const {room, peers} of m.rooms ?? []) {
      if (peers) this._joined(room, peers);
    }
    if (!m.resumed) this._rejoin();
    this._opening?.resolve();
    this._opening = null;
  }

  /** A new session: what the old one was owed will not come. */
  _reset() {
    Object.assign(this, {_seen: 0, _sent: 0, _outbox: []});
    this.rooms.clear();
    const waiting = [...this._waiting.values()];
    this._waiting.clear();
    for (const {reject} of waiting) reject(new RtcdError('lost', 'the session was lost'));
  }

  _rejoin() {
    for (const [room, more] of this._joins) {
      if (room === this.options.room) continue;
      this.join(room, more).catch((e) => this.emit('problem', e));
    }
  }

  /** @param {number} code @param {RtcdError|null} refusal */
  _lost(code, refusal) {
    this._socket = null;
    clearTimeout(this._timers.ping);
    clearTimeout(this._timers.pong);
    if (this.state === 'closed') return;
    const final = FINAL.get(code);
    if (final) {
      this._end(refusal ?? new RtcdError(final, `the server closed with ${code}`));
      return;
    }
    if (BEGIN_ANEW.has(code)) this._resume = '';
    const step = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this._attempt);
    const retryIn = this._retryAfter || Math.round(step * (0.5 + Math.random() / 2));
    this._retryAfter = 0;
    this._attempt++;
    const state = this._begun ? 'reconnecting' : 'connecting';
    this._setState(state, {retryIn, attempt: this._attempt});
    this._timers.dial = setTimeout(() => this._dial(), retryIn);
  }

  /** The network came back, or the page did: do not wait for the next attempt or ping. */
  _nudge() {
    if (globalThis.document?.visibilityState === 'hidden') return;
    if (this._socket) {
      if (this.state === 'open') this._ping(PONG_SOON);
    } else if (this.state === 'reconnecting' || this.state === 'connecting') {
      clearTimeout(this._timers.dial);
      this._dial();
    }
  }

  _schedulePing() {
    clearTimeout(this._timers.ping);
    this._timers.ping = setTimeout(() => this._ping(), PING_EVERY);
  }

  /** @param {number} [within] ms for the answer */
  _ping(within = PONG_WITHIN) {
    const socket = this._socket;
    if (socket?.readyState !== WebSocket.OPEN) return;
    socket.send(JSON.stringify({type: 'ping', seq: this._seen}));
    clearTimeout(this._timers.pong);
    this._timers.pong = setTimeout(() => {
      socket.close(); // its close event may come late or never on a dead network
      if (socket === this._socket) this._lost(1006, null);
    }, within);
    this._schedulePing();
  }

  /** @param {RtcdError} error */
  _end(error) {
    for (const timer of Object.values(this._timers)) clearTimeout(timer);
    globalThis.removeEventListener?.('online', this._wake);
    globalThis.document?.removeEventListener('visibilitychange', this._wake);
    this._socket = null;
    this._resume = '';
    this.error = error;
    this._reset();
    this._setState('closed', {error});
    this._opening?.reject(error);
    this._opening = null;
  }

  /** @param {Hub['state']} state @param {object} [more] */
  _setState(state, more = {}) {
    this.state = state;
    this.emit('state', {state, ...more});
  }

  // ---- messages

  /** @param {Record<string, any>} message @returns {Promise<any>} */
  _request(message) {
    if (this.state === 'closed') return Promise.reject(this.error);
    if (this._outbox.length >= OUTBOX) {
      return Promise.reject(new RtcdError('busy', 'too many messages wait for the server'));
    }
    const id = String(++this._ids);
    return new Promise((resolve, reject) => {
      const n = ++this._sent;
      this._waiting.set(id, {n, resolve, reject});
      const text = JSON.stringify({...message, id});
      this._outbox.push({n, text});
      if (this.state === 'open') this._socket?.send(text);
    });
  }

  /** @param {any} m */
  _receive(m) {
    if (m.seq) {
      if (m.seq <= this._seen) return;
      this._seen = m.seq;
    }
    switch (m.type) {
      case 'joined': this._joined(m.room, m.peers, m.ice); break;
      case 'peer': this._peer(m); break;
      case 'ice': this._ice(m); break;
      case 'pong':
        clearTimeout(this._timers.pong);
        this._confirmed(m.got);
        break;
      case 'going': this._retryAfter = m.retryAfter; break;
      case 'signal': case 'message': this.emit(m.type, m); break;
    }
    this._answer(m);
  }

  /** @param {any} m */
  _answer(m) {
    const waiting = m.re === undefined ? undefined : this._waiting.get(String(m.re));
    const error = m.type === 'error' ? new RtcdError(m.code, m.message) : null;
    if (!waiting) {
      if (error) this.emit('problem', error);
      return;
    }
    this._waiting.delete(String(m.re));
    this._confirmed(waiting.n); // frames are taken in order: with this one all before it
    if (error) waiting.reject(error);
    else waiting.resolve(m);
  }

  /** @param {number} got */
  _confirmed(got) {
    this._outbox = this._outbox.filter(({n}) => n > got);
  }

  /** @param {string} room @param {Member[]} peers @param {any} [ice] */
  _joined(room, peers, ice) {
    if (ice) this._ice(ice);
    this.rooms.set(room, new Map(peers.map((p) => [p.peer, p])));
    this.emit('joined', {room, peers});
  }

  /** @param {any} m */
  _peer(m) {
    const {type, seq, event, reason, room, ...member} = m;
    const members = this.rooms.get(room);
    const known = members?.get(m.peer);
    if (event === 'leave') {
      members?.delete(m.peer);
      if (m.peer === this.peer) this._forget(room);
    } else if (members && (event === 'join' || known)) {
      members.set(m.peer, {...known, ...member, away: event === 'away'});
    }
    this.emit('peer', m);
  }

  /** @param {string} room */
  _forget(room) {
    this.rooms.delete(room);
    this._joins.delete(room);
    if (this.options.room === room) this.options = {...this.options, room: undefined};
  }

  /** @param {{iceServers: IceServer[], ttl: number}} m */
  _ice({iceServers, ttl}) {
    this.iceServers = iceServers;
    this.emit('ice', {iceServers, ttl});
  }
}

function defaultURL() {
  return location.origin.replace(/^http/, 'ws') + '/ws';
}

/**
 * What a join token says, read without its secret: for display only.
 * @param {string} token
 * @returns {{room?: string, name?: string, exp?: number, perms?: string[]}|null}
 */
export function readToken(token) {
  try {
    const part = token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
    const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}
