// @ts-check
/**
 * What the relay saw of a check, as PROTOCOL.md has it: one request whose answer goes
 * on, a line of JSON for each thing that was seen.
 * @module
 */

import {addressFamily} from './connection.js';

/**
 * @typedef {Object} Sighting
 * @property {number} at         ms since the check began
 * @property {string} see        bound, connected, secured, tls-failed, challenged, refused, silenced,
 *                               allocated, permitted, relayed, closed, ended
 * @property {number} [n]        of the credential; without it the client had named none yet
 * @property {string} [transport]
 * @property {number} [port]     of the server
 * @property {string} [client]
 * @property {string} [method]
 * @property {number} [code]
 * @property {string} [why]
 * @property {number} [late]     seconds
 * @property {string} [peer]
 * @property {string} [name]
 * @property {string[]} [relays]
 * @property {number} [sent]
 * @property {number} [received]
 * @property {number} [lost]
 */
/**
 * @typedef {Object} Begun   the first line
 * @property {number} now          the server's clock, ms
 * @property {string} [address]    where this browser comes from
 * @property {number} ttl
 * @property {boolean} restricted
 * @property {RTCIceServer[]} iceServers   the nth with credential n
 * @property {RTCIceServer} relay
 * @property {RTCIceServer} path
 */

/** A check that is under way. */
export class Trace {
  /** @param {Begun} begun @param {ReadableStreamDefaultReader<string>} reader @param {string} rest @param {() => void} heard */
  constructor(begun, reader, rest, heard) {
    this.begun = begun;
    /** Difference of the clocks, ours less the server's, in ms; the way here is part of it. */
    this.skew = Date.now() - begun.now;
    /** @type {Sighting[]} */
    this.sightings = [];
    this.whole = true; // nothing was lost, and the server is still telling
    this.reader = reader;
    this.listen(rest, heard);
  }

  /** @param {string} rest @param {() => void} heard */
  async listen(rest, heard) {
    try {
      for (let text = rest; ;) {
        const lines = text.split('\n');
        text = lines.pop() ?? '';
        for (const line of lines) this.take(JSON.parse(line));
        if (lines.length) heard();
        const {value, done} = await this.reader.read();
        if (done) break;
        text += value;
      }
    } catch { /* the line was cut: by us, or what we know ends here */ }
    this.whole = false;
  }

  /** @param {any} line */
  take(line) {
    if (line.type !== 'trace') return;
    if (line.lost) this.whole = false;
    this.sightings.push(line);
  }

  close() {
    this.reader.cancel().catch(() => {});
  }
}

/**
 * Begins a check. Servers that do not trace answer 404 or 405, then there is no trace.
 * @param {string} base
 * @param {string} bearer
 * @param {() => void} heard  called after each line
 * @returns {Promise<{answer: Response|null, trace: Trace|null}>}  no answer: nobody is there
 */
export async function openTrace(base, bearer, heard) {
  /** @type {RequestInit} */
  const init = {method: 'POST', cache: 'no-store'};
  if (bearer) init.headers = {Authorization: `Bearer ${bearer}`};
  const answer = await fetch(base + '/api/v1/check', init).catch(() => null);
  if (!answer?.ok || !answer.body) return {answer, trace: null};
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!text.includes('\n')) {
    const {value, done} = await reader.read();
    if (done) return {answer: null, trace: null};
    text += value;
  }
  const end = text.indexOf('\n');
  return {answer, trace: new Trace(JSON.parse(text.slice(0, end)), reader, text.slice(end + 1), heard)};
}

/**
 * What the server makes of one URL or test, as a code for words, and what they name.
 * @typedef {{code: string, values: Record<string, string|number>}} View
 */

/** @type {View} nothing can be said */
export const UNKNOWN = {code: '', values: {}};

/**
 * What of the sightings belongs to a row: those with its credential, and the nameless
 * that came the same way.
 * @param {import('./check.js').Row} row
 * @param {import('./check.js').Row[]} rows
 * @param {Sighting[]} sightings
 */
export function seenOf(row, rows, sightings) {
  const alone = rows.filter(({kind, transport}) => kind === row.kind && transport === row.transport).length === 1;
  const family = addressFamily(row.host);
  return sightings.filter((s) => {
    if (s.n !== undefined) return s.n === row.n;
    if (s.transport !== row.transport || (!alone && s.port !== row.port)) return false;
    if (family && s.client && addressFamily(s.client.replace(/^\[|\]?:\d+$/g, '')) !== family) return false;
    return s.see === 'bound' ? row.kind === 'stun' : s.see === 'challenged' ? row.kind === 'turn' : true;
  });
}

/**
 * Joins what the browser saw of a URL with what the server saw:
 *
 *   allocated, bound     it works
 *   nothing              nothing came: closed before the server
 *   elsewhere            somebody answered the browser, and it was not this server
 *   answer-lost          the server answered and the browser did not see it
 *   tls-alert, tls-failed, tls-late    the handshake failed; the last: it was not finished
 *   stuck                a connection came, and nothing on it
 *   bad_password, expired, revoked, malformed, wrong_realm    the login
 *   quota-user, quota-address, quota-total, quota-pace, ports, draining
 *   limited, refused     by a limit on strangers; with any other code
 *
 * @param {import('./check.js').Row} row
 * @param {Sighting[]} seen   of the row
 * @param {Trace} trace
 * @returns {View}
 */
export function viewOf(row, seen, trace) {
  const last = (/** @type {string} */ see) => seen.findLast((s) => s.see === see);
  const view = (/** @type {string} */ code, /** @type {Record<string, any>} */ values = {}) => ({code, values});
  const allocated = last('allocated') ?? last('bound');
  if (row.state === 'pass') return allocated ? view(allocated.see, {relay: allocated.relays?.[0] ?? ''}) : UNKNOWN;
  const refused = seen.findLast((s) => s.see === 'refused' && s.code !== 438);
  if (refused) return refusalView(refused, trace);
  if (allocated || last('challenged')) return view('answer-lost', {client: (allocated ?? last('challenged'))?.client ?? ''});
  const silenced = last('silenced');
  if (silenced) return view('limited', {why: silenced.why ?? ''});
  const failed = last('tls-failed');
  if (failed) return tlsView(failed);
  if (last('secured') || last('connected')) return view(row.transport === 'tls' && !last('secured') ? 'tls-late' : 'stuck');
  if (!trace.whole) return UNKNOWN; // it may have been told
  if (row.errors.some(({code}) => code >= 300 && code < 700)) return view('elsewhere');
  const family = addressFamily(row.host);
  const here = trace.begun.address ?? '';
  if (!here || (family && addressFamily(here) !== family)) return UNKNOWN; // it would not have known us
  return view('nothing', {address: here});
}

/** @param {Sighting} s @param {Trace} trace @returns {View} */
function refusalView(s, trace) {
  const why = s.why ?? '';
  const values = {code: s.code ?? 0, why, late: s.late ?? 0, skew: Math.round(trace.skew / 1000),
    server: new Date(trace.begun.now).toISOString().slice(11, 19), device: new Date(trace.begun.now + trace.skew).toISOString().slice(11, 19)};
  if (s.code === 401 && why) return {code: why, values};
  if (s.code === 486 && why) return {code: `quota-${why}`, values};
  if ((s.code === 508 || s.code === 300) && why) return {code: why, values};
  return {code: 'refused', values};
}

/** @param {Sighting} s @returns {View} */
function tlsView(s) {
  const why = s.why ?? '';
  const alert = why.replace(/^alert: (tls: )?/, '');
  const values = {alert, why, name: s.name ?? ''};
  return {code: why.startsWith('alert: ') ? 'tls-alert' : 'tls-failed', values};
}

/**
 * The same for a test that sends data, by what its allocations did:
 *
 *   relayed              both ways
 *   peer-refused         the policy stood against a peer: which rule
 *   one-way              the relay sent to the peer and heard nothing of it
 *   unsent               allocated, and the client sent nothing to relay
 *   too-much             the bytes of the credential are used up
 *
 * @param {Sighting[]} seen  with the test's credential
 * @param {boolean} passed
 * @returns {View}
 */
export function testViewOf(seen, passed) {
  const sum = (/** @type {'sent'|'received'} */ key) => seen.filter(({see}) => see === 'closed')
    .reduce((n, s) => n + (s[key] ?? 0), 0);
  const values = {sent: sum('sent'), received: sum('received')};
  const refused = seen.findLast(({see, code}) => see === 'refused' && (code === 403 || code === 443));
  if (!passed && refused) {
    const peer = (refused.peer ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
    return {code: 'peer-refused', values: {...values, peer, rule: refused.why ?? ''}};
  }
  if (!seen.some(({see}) => see === 'allocated')) return UNKNOWN;
  const relayed = (/** @type {'sent'|'received'} */ key) => seen.some((s) => (s[key] ?? 0) > 0);
  if (relayed('sent') && relayed('received')) return {code: 'relayed', values};
  return {code: relayed('sent') ? 'one-way' : relayed('received') ? 'relayed' : 'unsent', values};
}
