// @ts-check
/** The two tests of the check that send data through the relay. @module */

import {addressFamily, connectionInfo} from './connection.js';

/**
 * @typedef {Object} Measure
 * @property {'wait'|'run'|'pass'|'fail'|'skip'} state
 * @property {string} reason   "", or: no-relay, restricted, no-public-address, no-address, other-family
 *                             (skip); not-connected, lossy, range-closed, range-filtered, peer-refused (fail)
 * @property {string} detail   an address, where the reason speaks of one
 * @property {string} url      of the TURN server that was used
 * @property {number|null} connectMs
 * @property {number} sent     pings
 * @property {number} lost
 * @property {number[]} rtts   ms, in the order they came
 * @property {number} bytes    of the bulk transfer
 * @property {number|null} mbps
 * @property {import('./connection.js').ConnectionInfo|null} pair
 * @property {import('./check-trace.js').View} view  what the server saw of it
 */

const CONNECT_LIMIT = 8000; // ms
const PINGS = 60;
const PING_EVERY = 40; // ms
const BULK_LIMIT = 3000; // ms
const CHUNK = 16 * 1024;
const TOO_LOSSY = 0.2; // share of pings

/**
 * Two connections of this page meet through the relay: what every relayed call
 * needs. On one server the two relays talk in process, so this says nothing about
 * the relay ports; {@link pathTest} does.
 * @param {Measure} measure
 * @param {RTCIceServer} server
 * @param {{cap: number, update: () => void}} options  cap in bytes for the bulk transfer
 */
export async function relayTest(measure, server, {cap, update}) {
  begin(measure, server, update);
  const a = newConnection([server], 'relay');
  const b = newConnection([server], 'relay');
  try {
    a.pc.onicecandidate = forward(b.pc);
    b.pc.onicecandidate = forward(a.pc);
    await negotiate(a.pc, b.pc);
    if (!await opened(measure, a, b, CONNECT_LIMIT)) {
      Object.assign(measure, {state: 'fail', reason: 'not-connected'});
      return;
    }
    measure.pair = await connectionInfo(a.pc);
    await ping(measure, a.quick, b.quick, PINGS, update);
    await bulk(measure, a.bulk, b.bulk, cap, update);
    const lossy = measure.lost > measure.sent * TOO_LOSSY;
    Object.assign(measure, lossy ? {state: 'fail', reason: 'lossy'} : {state: 'pass'});
  } finally {
    a.pc.close();
    b.pc.close();
    update();
  }
}

const SHIFTED_LIMIT = 6000; // ms
const PUNCHED_LIMIT = 4000;

/**
 * One end behind the relay, the other at this browser's own public address, as when
 * only one side of a call needs the relay. Packets then come to a relay port from
 * outside, which a closed port range stops.
 *
 * A firewall that keeps state would let them in as answers if the relay had sent to
 * the same port first. So the relay is first told our address with a wrong port: that
 * gives the permission, but opens nothing, and our first packet comes unasked. Only if
 * that fails is the true port told: what works then, works only by luck of the NAT.
 * @param {Measure} measure
 * @param {RTCIceServer} server
 * @param {{stun: RTCIceServer|null, family: 'IPv4'|'IPv6', update: () => void}} options
 */
export async function pathTest(measure, server, {stun, family, update}) {
  begin(measure, server, update);
  const a = newConnection([server], 'relay');
  const b = newConnection(stun ? [stun] : [stunOf(server)], 'all');
  try {
    /** @type {RTCIceCandidate[]} */
    const relayed = [];
    /** @type {RTCIceCandidate[]} */
    const own = [];
    const gathered = [gather(a.pc, relayed), gather(b.pc, own)];
    await negotiate(a.pc, b.pc);
    await Promise.all(gathered);
    const target = publicCandidate(own, family);
    if (!target.candidate) {
      Object.assign(measure, {state: 'skip', reason: target.reason, detail: target.detail});
      return;
    }
    await reach(measure, a, b, target.candidate, relayed);
    if (measure.connectMs !== null) {
      measure.pair = await connectionInfo(b.pc);
      await ping(measure, b.quick, a.quick, 25, update);
    }
  } finally {
    a.pc.close();
    b.pc.close();
    update();
  }
}

/**
 * @param {Measure} measure
 * @param {Connection} a  behind the relay
 * @param {Connection} b  at its own address
 * @param {RTCIceCandidate} target
 * @param {RTCIceCandidate[]} relayed
 */
async function reach(measure, a, b, target, relayed) {
  const begun = performance.now();
  await a.pc.addIceCandidate(withPort(target, otherPort(portOf(target))));
  await pause(150); // for the permission, so that our first packet does not come too early
  for (const candidate of relayed) await b.pc.addIceCandidate(candidate);
  if (await opened(measure, b, a, SHIFTED_LIMIT, begun)) {
    measure.state = 'pass';
    return;
  }
  await a.pc.addIceCandidate(target);
  const punched = await opened(measure, b, a, PUNCHED_LIMIT, begun);
  Object.assign(measure, {state: 'fail', reason: punched ? 'range-filtered' : 'range-closed'});
}

/** @param {Measure} measure @param {RTCIceServer} server @param {() => void} update */
function begin(measure, server, update) {
  Object.assign(measure, {state: 'run', url: String(server.urls)});
  update();
}

/**
 * A connection with two channels that both ends have without asking: one that loses
 * what the network loses, one that does not.
 * @typedef {{pc: RTCPeerConnection, quick: RTCDataChannel, bulk: RTCDataChannel}} Connection
 */

/**
 * @param {RTCIceServer[]} iceServers
 * @param {RTCIceTransportPolicy} iceTransportPolicy
 * @returns {Connection}
 */
function newConnection(iceServers, iceTransportPolicy) {
  const pc = new RTCPeerConnection({iceServers, iceTransportPolicy});
  const quick = pc.createDataChannel('quick',
    {negotiated: true, id: 1, ordered: false, maxRetransmits: 0});
  const bulk = pc.createDataChannel('bulk', {negotiated: true, id: 2});
  bulk.binaryType = 'arraybuffer';
  return {pc, quick, bulk};
}

/** @param {RTCPeerConnection} to */
function forward(to) {
  return (/** @type {RTCPeerConnectionIceEvent} */ {candidate}) => {
    if (candidate?.candidate) to.addIceCandidate(candidate).catch(() => {});
  };
}

/** Descriptions go across without the candidates in them: those are handed over by us. */
async function negotiate(/** @type {RTCPeerConnection} */ a, /** @type {RTCPeerConnection} */ b) {
  const offer = await a.createOffer();
  const setA = a.setLocalDescription(offer);
  await b.setRemoteDescription(offer);
  await setA;
  const answer = await b.createAnswer();
  await b.setLocalDescription(answer);
  await a.setRemoteDescription(answer);
}

/** @param {RTCPeerConnection} pc @param {RTCIceCandidate[]} into @returns {Promise<void>} */
function gather(pc, into) {
  return new Promise((resolve) => {
    setTimeout(resolve, 5000);
    pc.onicecandidate = ({candidate}) => {
      if (candidate?.candidate) into.push(candidate);
      if (!candidate) resolve();
    };
  });
}

/**
 * @param {Measure} measure
 * @param {Connection} a
 * @param {Connection} b
 * @param {number} limit
 * @param {number} [begun]
 */
async function opened(measure, a, b, limit, begun = performance.now()) {
  const channels = [a.quick, a.bulk, b.quick, b.bulk];
  const end = performance.now() + limit;
  while (channels.some(({readyState}) => readyState !== 'open')) {
    if (performance.now() > end) return false;
    await pause(20);
  }
  measure.connectMs = Math.round(performance.now() - begun);
  return true;
}

/**
 * Sends numbered pings at a steady pace and counts what comes back.
 * @param {Measure} measure
 * @param {RTCDataChannel} from
 * @param {RTCDataChannel} to
 * @param {number} count
 * @param {() => void} update
 */
async function ping(measure, from, to, count, update) {
  /** @type {Map<string, number>} */
  const pending = new Map();
  to.onmessage = ({data}) => to.readyState === 'open' && to.send(data);
  from.onmessage = ({data}) => {
    const at = pending.get(data);
    if (at === undefined) return;
    pending.delete(data);
    measure.rtts.push(round(performance.now() - at));
  };
  for (let i = 0; i < count && from.readyState === 'open'; i++) {
    pending.set(String(i), performance.now());
    from.send(String(i));
    measure.sent++;
    measure.lost = pending.size;
    await pause(PING_EVERY);
    if (i % 10 === 9) update(); // drawing takes time: not while an answer is on its way
  }
  const end = performance.now() + 1000;
  while (pending.size && performance.now() < end) await pause(20);
  measure.lost = pending.size;
  update();
}

/**
 * Sends as fast as it goes, until the cap or the time is reached; counts what arrives.
 * @param {Measure} measure
 * @param {RTCDataChannel} from
 * @param {RTCDataChannel} to
 * @param {number} cap  bytes
 * @param {() => void} update
 */
async function bulk(measure, from, to, cap, update) {
  let first = 0;
  let last = 0;
  to.onmessage = ({data}) => {
    last = performance.now();
    first ||= last;
    measure.bytes += data.byteLength;
  };
  const chunk = new Uint8Array(CHUNK);
  const end = performance.now() + BULK_LIMIT;
  from.bufferedAmountLowThreshold = 8 * CHUNK;
  let sent = 0;
  while (sent < cap && performance.now() < end && from.readyState === 'open') {
    if (from.bufferedAmount > 32 * CHUNK) {
      await Promise.race([pause(200), new Promise((r) => { from.onbufferedamountlow = r; })]);
      update();
      continue;
    }
    from.send(chunk);
    sent += CHUNK;
  }
  const drained = performance.now() + 1000;
  while (measure.bytes < sent && performance.now() < drained) await pause(20);
  const seconds = (last - first) / 1000;
  measure.mbps = seconds > 0 ? round(((measure.bytes - CHUNK) * 8) / 1e6 / seconds) : null;
}

/**
 * The address under which the world may reach this browser; private ones are refused
 * as peers by any careful relay, and mDNS names mean nothing outside.
 * @param {RTCIceCandidate[]} candidates
 * @param {'IPv4'|'IPv6'} family
 * @returns {{candidate: RTCIceCandidate|null, reason: string, detail: string}}
 */
function publicCandidate(candidates, family) {
  const udp = candidates.filter((c) => fieldsOf(c)[2]?.toLowerCase() === 'udp');
  const known = udp.filter((c) => addressFamily(addressOf(c)));
  const open = known.filter((c) => isPublic(addressOf(c)));
  const candidate = open.find((c) => addressFamily(addressOf(c)) === family) ?? null;
  if (candidate) return {candidate, reason: '', detail: ''};
  if (open.length) return {candidate, reason: 'other-family', detail: family};
  if (known.length) return {candidate, reason: 'no-public-address', detail: addressOf(known[0])};
  return {candidate, reason: 'no-address', detail: ''};
}

/** Ranges that rtcd refuses as peers by default (the IANA special-purpose registries). */
const SPECIAL_V4 = ['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16',
  '172.16.0.0/12', '192.0.0.0/24', '192.0.2.0/24', '192.31.196.0/24', '192.52.193.0/24',
  '192.88.99.0/24', '192.168.0.0/16', '192.175.48.0/24', '198.18.0.0/15', '198.51.100.0/24',
  '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'];

/** 2001::/23, 2001:db8::/32, 2002::/16, 3fff::/16; all else outside 2000::/3 is not global either. */
const SPECIAL_V6 = /^(2001:(:|[0-9a-f]{1,2}:|1[0-9a-f]{2}:|db8:)|2002:|3fff:)/i;

/** @param {string} address */
export function isPublic(address) {
  if (addressFamily(address) === 'IPv6') {
    return /^[23]/.test(address) && !SPECIAL_V6.test(address);
  }
  return !SPECIAL_V4.some((range) => {
    const [base, bits] = range.split('/');
    const size = 2 ** (32 - Number(bits));
    return Math.floor(toNumber(address) / size) === Math.floor(toNumber(base) / size);
  });
}

/** @param {string} address */
function toNumber(address) {
  return address.split('.').reduce((n, part) => n * 256 + Number(part), 0);
}

/** foundation component protocol priority address port "typ" type … @param {RTCIceCandidate} c */
function fieldsOf(c) {
  return c.candidate.replace(/^candidate:/, '').split(' ');
}

/** @param {RTCIceCandidate} c */
function addressOf(c) {
  return fieldsOf(c)[4] ?? '';
}

/** @param {RTCIceCandidate} c */
function portOf(c) {
  return Number(fieldsOf(c)[5]);
}

/** Far from the true one, so that no NAT takes the two for neighbours. @param {number} port */
function otherPort(port) {
  return 1024 + ((port - 1024 + 20011) % 64000);
}

/** @param {RTCIceCandidate} c @param {number} port */
function withPort(c, port) {
  const fields = c.candidate.split(' ');
  fields[5] = String(port);
  return new RTCIceCandidate({candidate: fields.join(' '), sdpMid: c.sdpMid,
    sdpMLineIndex: c.sdpMLineIndex, usernameFragment: c.usernameFragment});
}

/** The STUN side of a TURN server, which every one has on its UDP port. @param {RTCIceServer} server @returns {RTCIceServer} */
function stunOf(server) {
  return {urls: String(server.urls).replace(/^turns?:/, 'stun:').replace(/\?.*$/, '')};
}

/** @param {number} n */
function round(n) {
  return Math.round(n * 10) / 10;
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
