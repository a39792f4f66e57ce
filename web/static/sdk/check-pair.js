// @ts-check
/**
 * Two devices in one room try real paths to each other: direct, and over the relay.
 * Both show the same, each as it measured it.
 *
 *   const pair = new PairCheck(hub, room, {role: 'check-CODE', onUpdate: (p) => draw(p)});
 *
 * The newcomer offers, as everywhere on the hub. Signals are offer, answer and candidate,
 * with the path's name as their `conn`.
 * @module
 */

import {connectionInfo} from './connection.js';

/** @typedef {'direct'|'relay'} PathName */
/**
 * @typedef {Object} PairPath
 * @property {'wait'|'run'|'pass'|'fail'} state
 * @property {string} reason       "", or not-connected, lossy
 * @property {number|null} connectMs
 * @property {number} sent         pings of this side
 * @property {number} lost
 * @property {number[]} rtts       ms
 * @property {import('./connection.js').ConnectionInfo|null} pair
 */

const CONNECT_LIMIT = 10_000; // ms
const PINGS = 40;
const PING_EVERY = 40; // ms
const TOO_LOSSY = 0.2; // share of pings
const GRACE = 1500; // ms, for the other side's last pings
/** @type {PathName[]} */
const PATHS = ['direct', 'relay'];

/** @returns {PairPath} */
function newPath() {
  return {state: 'wait', reason: '', connectMs: null, sent: 0, lost: 0, rtts: [], pair: null};
}

export class PairCheck {
  /**
   * @param {import('./hub.js').Hub} hub  open, and in the room
   * @param {string} room
   * @param {{role: string, onUpdate: (pair: PairCheck) => void}} options
   */
  constructor(hub, room, {role, onUpdate}) {
    this.hub = hub;
    this.room = room;
    this.role = role;
    this.update = () => onUpdate(this);
    /** @type {'waiting'|'running'|'done'} */
    this.state = 'waiting';
    /** @type {import('./hub.js').Member|null} */
    this.other = null;
    this.direct = newPath();
    this.relay = newPath();
    /** @type {Map<PathName, Attempt>} */
    this.attempts = new Map();
    hub.on('peer', (m) => this.met(m));
    hub.on('signal', (m) => this.heard(m));
    for (const member of hub.rooms.get(room)?.values() ?? []) this.meet(member);
  }

  /**
   * What both paths mean together: both, direct-only, relay-only (as it is meant to be
   * where no direct path exists), none; "" before the end.
   */
  get verdict() {
    if (this.state !== 'done') return '';
    const [direct, relay] = [this.direct.state === 'pass', this.relay.state === 'pass'];
    return direct && relay ? 'both' : direct ? 'direct-only' : relay ? 'relay-only' : 'none';
  }

  /** @param {any} m */
  met(m) {
    if (m.room !== this.room) return;
    if (m.event === 'join') this.meet(m);
    if (m.event === 'leave' && m.peer === this.other?.peer) this.parted();
  }

  /** @param {import('./hub.js').Member} member */
  meet(member) {
    if (this.other || member.role !== this.role) return;
    this.other = member;
    this.direct = newPath();
    this.relay = newPath();
    this.state = 'running';
    this.update();
    if (member.polite) this.lead(); // we came later
  }

  parted() {
    this.other = null;
    for (const attempt of this.attempts.values()) attempt.close();
    this.attempts.clear();
    if (this.state === 'running') this.state = 'waiting';
    this.update();
  }

  async lead() {
    const {peer} = /** @type {import('./hub.js').Member} */ (this.other);
    for (const name of PATHS) {
      if (this.other?.peer !== peer) return;
      const attempt = this.begin(name, peer);
      await attempt.offer();
      await this.measured(attempt);
    }
  }

  /** @param {PathName} name @param {string} peer */
  begin(name, peer) {
    this.attempts.get(name)?.close();
    const attempt = new Attempt(name, this[name], serversFor(name, this.hub.iceServers), {
      signal: (kind, data) => this.hub.signal(peer, kind, data, {conn: name}).catch(() => {}),
      update: this.update,
    });
    this.attempts.set(name, attempt);
    return attempt;
  }

  /** @param {Attempt} attempt */
  async measured(attempt) {
    await attempt.measure();
    if (this.attempts.get(attempt.name) !== attempt) return;
    if (PATHS.every((name) => ['pass', 'fail'].includes(this[name].state))) this.state = 'done';
    this.update();
    setTimeout(() => attempt.close(), GRACE);
  }

  /** @param {any} m */
  async heard(m) {
    if (m.from !== this.other?.peer || !PATHS.includes(m.conn)) return;
    if (m.kind === 'offer') {
      const attempt = this.begin(m.conn, m.from);
      await attempt.answer(m.data);
      await this.measured(attempt);
      return;
    }
    await this.attempts.get(m.conn)?.take(m.kind, m.data);
  }

  close() {
    for (const attempt of this.attempts.values()) attempt.close();
    this.attempts.clear();
  }
}

/** The direct path has no relay to fall back on, the other nothing else. @param {PathName} name @param {RTCIceServer[]} all */
function serversFor(name, all) {
  const pattern = name === 'direct' ? /^stuns?:/ : /^turns?:/;
  return all.map((s) => ({...s, urls: [s.urls].flat().filter((url) => pattern.test(url))})).filter(({urls}) => urls.length);
}

/** One connection and what it shows. */
class Attempt {
  /**
   * @param {PathName} name
   * @param {PairPath} path
   * @param {RTCIceServer[]} iceServers
   * @param {{signal: (kind: string, data: any) => void, update: () => void}} outside
   */
  constructor(name, path, iceServers, {signal, update}) {
    Object.assign(path, newPath(), {state: 'run'});
    this.name = name;
    this.path = path;
    this.signal = signal;
    this.update = update;
    this.begun = performance.now();
    /** @type {RTCIceCandidateInit[]} that came before the description they belong to */
    this.early = [];
    this.pc = new RTCPeerConnection({iceServers, iceTransportPolicy: name === 'relay' ? 'relay' : 'all'});
    this.channel = this.pc.createDataChannel('check', {negotiated: true, id: 1, ordered: false, maxRetransmits: 0});
    this.channel.onmessage = ({data}) => this.message(String(data));
    this.pc.onicecandidate = ({candidate}) => candidate?.candidate && signal('candidate', candidate.toJSON());
    /** @type {Map<string, number>} pings that are on their way */
    this.pending = new Map();
    update();
  }

  async offer() {
    await this.pc.setLocalDescription();
    this.signal('offer', this.pc.localDescription);
  }

  /** @param {RTCSessionDescriptionInit} offer */
  async answer(offer) {
    await this.take('offer', offer);
    await this.pc.setLocalDescription();
    this.signal('answer', this.pc.localDescription);
  }

  /** @param {string} kind @param {any} data */
  async take(kind, data) {
    if (kind === 'candidate') {
      if (!this.pc.remoteDescription) this.early.push(data);
      else await this.pc.addIceCandidate(data).catch(() => {});
      return;
    }
    await this.pc.setRemoteDescription(data);
    for (const candidate of this.early.splice(0)) await this.pc.addIceCandidate(candidate).catch(() => {});
  }

  /** @param {string} text  ping:N, or pong:N for it */
  message(text) {
    const [what, n] = text.split(':');
    if (what === 'ping') {
      if (this.channel.readyState === 'open') this.channel.send(`pong:${n}`);
      return;
    }
    const at = this.pending.get(n);
    if (at === undefined) return;
    this.pending.delete(n);
    this.path.rtts.push(Math.round((performance.now() - at) * 10) / 10);
  }

  async measure() {
    const {path, channel} = this;
    while (channel.readyState === 'connecting' && performance.now() - this.begun < CONNECT_LIMIT) await pause(20);
    if (channel.readyState !== 'open') {
      Object.assign(path, {state: 'fail', reason: 'not-connected'});
      return;
    }
    path.connectMs = Math.round(performance.now() - this.begun);
    path.pair = await connectionInfo(this.pc);
    for (let i = 0; i < PINGS && channel.readyState === 'open'; i++) {
      this.pending.set(String(i), performance.now());
      channel.send(`ping:${i}`);
      path.sent++;
      path.lost = this.pending.size;
      await pause(PING_EVERY);
      if (i % 10 === 9) this.update();
    }
    for (const end = performance.now() + 1000; this.pending.size && performance.now() < end;) await pause(20);
    path.lost = this.pending.size;
    const lossy = path.lost > path.sent * TOO_LOSSY;
    Object.assign(path, lossy ? {state: 'fail', reason: 'lossy'} : {state: 'pass'});
  }

  close() {
    this.pc.close();
  }
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
