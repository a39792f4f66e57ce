// @ts-check
/** Connections to the members of a room. @module */

import {Emitter} from './emitter.js';
import {Outcome} from './outcome.js';

/** @typedef {import('./hub.js').Hub} Hub */
/** @typedef {import('./hub.js').Member} Member */

/**
 * @typedef {Object} CallOptions
 * @property {MediaStreamTrack[]} [tracks]  what to send, at most one of each kind; may be empty
 * @property {RTCConfiguration} [rtc]       more configuration, e.g. {iceTransportPolicy: 'relay'}
 * @property {(url: string) => boolean} [use]  which of the hub's STUN and TURN URLs to use, default all
 * @property {string} [conn]                name of this set of connections, default "main"
 * @property {boolean} [media]              false: a data channel only
 * @property {string} [role]                only members with this role ("": those without one); default everyone
 */

/**
 * Connections to everyone in a room: one {@link Peer} each. Create it right after
 * the room is joined. Events: `peer` (a new Peer), `gone` (a Peer that ended).
 */
export class Call extends Emitter {
  /** @param {Hub} hub @param {string} room @param {CallOptions} [options] */
  constructor(hub, room, options = {}) {
    super();
    this.hub = hub;
    this.room = room;
    this.options = {conn: 'main', rtc: {}, ...options};
    /** @type {Map<string, Peer>} */
    this.peers = new Map();
    /** @type {Record<string, MediaStreamTrack|null>} */
    this.tracks = {audio: null, video: null};
    for (const track of options.tracks ?? []) this.tracks[track.kind] = track;
    this._off = [
      hub.on('joined', (m) => m.room === room && this._meet(m.peers)),
      hub.on('signal', (m) => this._signal(m)),
      hub.on('peer', (m) => m.event === 'leave' && m.room === room && this._drop(m.peer)),
      hub.on('restart', () => [...this.peers.keys()].forEach((id) => this._drop(id))),
      hub.on('ice', () => this.peers.forEach((peer) => peer.refresh())),
    ];
    this._meet([...(hub.rooms.get(room)?.values() ?? [])]);
  }

  /**
   * Sends another track of this kind (or none) to everyone, without a new negotiation.
   * @param {'audio'|'video'} kind
   * @param {MediaStreamTrack|null} track
   */
  async setTrack(kind, track) {
    this.tracks[kind] = track;
    await Promise.all([...this.peers.values()].map((peer) => peer.setTrack(kind, track)));
  }

  /** Hangs up; the room is not left. */
  close() {
    this._off.forEach((off) => off());
    for (const [id, peer] of this.peers) {
      if (this.hub.state === 'open') {
        this.hub.signal(id, 'bye', undefined, {conn: this.options.conn}).catch(() => {});
      }
      peer.close();
    }
    this.peers.clear();
  }

  /** The newcomer offers. @param {Member[]} members */
  _meet(members) {
    for (const member of members) {
      if (this.peers.has(member.peer) || !this._meant(member)) continue;
      this._add(member.peer, member.polite ?? true).offer();
    }
  }

  /** @param {Member} member */
  _meant({role = ''}) {
    return this.options.role === undefined || this.options.role === role;
  }

  /** @param {any} m */
  _signal(m) {
    if ((m.conn ?? 'main') !== this.options.conn) return;
    const member = this.hub.rooms.get(this.room)?.get(m.from);
    let peer = this.peers.get(m.from);
    if (!peer && m.kind === 'offer' && member && this._meant(member)) peer = this._add(m.from, member.polite ?? false);
    if (m.kind === 'bye' || m.kind === 'end') this._drop(m.from);
    else peer?.handle(m.kind, m.data);
  }

  /** @param {string} id @param {boolean} polite */
  _add(id, polite) {
    const peer = new Peer(this.hub, id, {...this.options, polite, tracks: this.tracks});
    this.peers.set(id, peer);
    this.emit('peer', peer);
    return peer;
  }

  /** @param {string} id */
  _drop(id) {
    const peer = this.peers.get(id);
    if (!peer) return;
    this.peers.delete(id);
    peer.close();
    this.emit('gone', peer);
  }
}

const RESTART_AFTER = 4000; // ms of "disconnected" before a new path is looked for

/**
 * One RTCPeerConnection to one member, negotiated the way W3C calls perfect: either
 * side may start at any time, `polite` decides who yields. Sound, picture and a data
 * channel share it. Events: `track`, `state` (connectionState), `problem`.
 */
export class Peer extends Emitter {
  /**
   * @param {Hub} hub
   * @param {string} id
   * @param {{polite: boolean, conn?: string, rtc?: RTCConfiguration, use?: (url: string) => boolean,
   *          tracks?: Record<string, MediaStreamTrack|null>, media?: boolean}} options
   */
  constructor(hub, id, {polite, conn = 'main', rtc = {}, use = () => true, tracks = {}, media = true}) {
    super();
    this.hub = hub;
    this.id = id;
    this.polite = polite;
    this.conn = conn;
    this.rtc = rtc;
    this.use = use;
    this.tracks = tracks;
    this.media = media;
    /** What the other side sends. */
    this.stream = new MediaStream();
    this.pc = new RTCPeerConnection(this._configuration());
    /** Open as soon as the connection is; both sides have it without asking. */
    this.channel = this.pc.createDataChannel('rtcd', {negotiated: true, id: 0});
    this._offering = false;
    this._answering = false;
    this._ignoring = false;
    this._queue = Promise.resolve();
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this._timer = undefined;
    this._wire();
  }

  /** @returns {RTCConfiguration} */
  _configuration() {
    const iceServers = this.hub.iceServers
      .map((server) => ({...server, urls: [server.urls].flat().filter(this.use)}))
      .filter(({urls}) => urls.length > 0);
    return {...this.rtc, iceServers};
  }

  _wire() {
    const {pc} = this;
    pc.onnegotiationneeded = () => this._negotiate();
    pc.onicecandidate = ({candidate}) => {
      // "" ends one generation of candidates, null all of them; null is the one sent on.
      if (candidate?.candidate !== '') this._send('candidate', candidate?.toJSON() ?? null);
    };
    pc.ontrack = ({track}) => {
      this.stream.addTrack(track);
      this.emit('track', track);
    };
    const outcome = new Outcome(this.hub, pc);
    pc.onconnectionstatechange = () => {
      outcome.state();
      this.emit('state', pc.connectionState);
    };
    pc.oniceconnectionstatechange = () => {
      clearTimeout(this._timer);
      if (pc.iceConnectionState === 'failed') this.restart();
      if (pc.iceConnectionState === 'disconnected') {
        this._timer = setTimeout(() => this.restart(), RESTART_AFTER);
      }
    };
  }

  /**
   * Begins: one sender of each kind, even without a track, so that one can be put in later.
   * Without media the data channel has asked for negotiation already.
   */
  offer() {
    if (!this.media) return;
    for (const kind of ['audio', 'video']) {
      this.pc.addTransceiver(this.tracks[kind] ?? kind, {direction: 'sendrecv'});
    }
  }

  /** Looks for a new path: after a network change, or when the old one died. */
  restart() {
    if (this.pc.signalingState !== 'closed') this.pc.restartIce();
  }

  /** Takes the hub's newest credentials into use; a running connection keeps its path. */
  refresh() {
    if (this.pc.signalingState !== 'closed') this.pc.setConfiguration(this._configuration());
  }

  /** @param {'audio'|'video'} kind @param {MediaStreamTrack|null} track */
  async setTrack(kind, track) {
    const transceiver = this.pc.getTransceivers().find((t) => t.receiver.track.kind === kind);
    await transceiver?.sender.replaceTrack(track);
  }

  /**
   * Takes an offer, an answer or a candidate from the other side; in order, one at a time.
   * @param {string} kind
   * @param {any} data
   */
  handle(kind, data) {
    this._queue = this._queue.then(() => this._handle(kind, data))
      .catch((e) => this.emit('problem', e));
    return this._queue;
  }

  close() {
    clearTimeout(this._timer);
    this.pc.onnegotiationneeded = this.pc.onicecandidate = null;
    this.pc.oniceconnectionstatechange = this.pc.onconnectionstatechange = null;
    this.pc.close();
  }

  async _negotiate() {
    try {
      this._offering = true;
      await this.pc.setLocalDescription();
      this._send('offer', this.pc.localDescription);
    } catch (e) {
      this.emit('problem', e);
    } finally {
      this._offering = false;
    }
  }

  /** @param {string} kind @param {any} data */
  async _handle(kind, data) {
    const {pc} = this;
    if (pc.signalingState === 'closed') return;
    if (kind === 'candidate') {
      await pc.addIceCandidate(data ?? undefined).catch((e) => {
        if (!this._ignoring) throw e;
      });
      return;
    }
    if (kind !== 'offer' && kind !== 'answer') return;
    const free = !this._offering && (pc.signalingState === 'stable' || this._answering);
    const collision = kind === 'offer' && !free;
    this._ignoring = !this.polite && collision;
    if (this._ignoring) return;
    this._answering = kind === 'answer';
    try {
      await pc.setRemoteDescription(data);
    } finally {
      this._answering = false;
    }
    if (kind !== 'offer') return;
    await this._fill();
    await pc.setLocalDescription();
    this._send('answer', pc.localDescription);
  }

  /** Puts our tracks where the other side's offer has room for them. */
  async _fill() {
    for (const transceiver of this.pc.getTransceivers()) {
      const track = this.tracks[transceiver.receiver.track.kind] ?? null;
      if (transceiver.direction === 'recvonly') transceiver.direction = 'sendrecv';
      if (transceiver.sender.track !== track) await transceiver.sender.replaceTrack(track);
    }
  }

  /** @param {string} kind @param {any} data */
  _send(kind, data) {
    this.hub.signal(this.id, kind, data, {conn: this.conn}).catch((e) => {
      if (e.code !== 'absent' && e.code !== 'lost' && e.code !== 'closed') this.emit('problem', e);
    });
  }
}
