// @ts-check
/**
 * Measures from a browser whether an rtcd (or any TURN server) can be used: every
 * URL by itself, then data through the relay. It shows nothing: the result is plain
 * data with codes, which /check turns into words.
 *
 *   import {runCheck} from '/sdk/check.js';
 *   const result = await runCheck({token, onUpdate: (r) => draw(r)});
 *
 * Browsers say little about why a relay cannot be used, and each says something
 * else; what they were seen to say is kept in {@link explain}.
 *
 * @module
 */

import {addressFamily} from './connection.js';
import {pathTest, relayTest} from './check-relay.js';
import {openTrace, seenOf, testViewOf, UNKNOWN, viewOf} from './check-trace.js';
import {readToken} from './hub.js';

/** ms for one URL; Chromium alone would wait 40 s for a silent server, Firefox 11 s. */
export const PROBE_LIMIT = 8000;

/** @typedef {'wait'|'run'|'pass'|'fail'|'skip'} State  skip = could not be tried, `reason` says why */
/**
 * @typedef {Object} Candidate
 * @property {string} type        host, srflx, prflx, relay
 * @property {string} protocol    udp or tcp
 * @property {string|null} relayProtocol  how the relay was reached: udp, tcp, tls
 * @property {'IPv4'|'IPv6'|null} family  of `address`; null for an mDNS name
 * @property {string} address
 * @property {number} port
 * @property {number} ms          since the probe began
 */
/**
 * One URL and what came of it.
 * @typedef {Object} Row
 * @property {string} url
 * @property {'stun'|'turn'} kind
 * @property {'udp'|'tcp'|'tls'} transport
 * @property {string} host
 * @property {number} port
 * @property {State} state
 * @property {string} reason      code, see {@link explain}; "" before the end
 * @property {number|null} ms     until the first useful candidate
 * @property {Candidate[]} candidates
 * @property {{code: number, text: string, ms: number}[]} errors   what the browser reported
 * @property {RTCIceServer} server
 * @property {number} n           of its credential in this check
 * @property {import('./check-trace.js').View} view  what the server saw, joined with what the browser did
 */
/** @typedef {import('./check-relay.js').Measure} Measure */
/**
 * @typedef {Object} Result
 * @property {'running'|'pass'|'fail'} verdict   fail as soon as anything that was tried failed
 * @property {string} reason          why nothing could be tried at all, else ""
 * @property {string} detail          the server's own words, if any
 * @property {string} started         ISO 8601
 * @property {number} ms              whole duration
 * @property {string} origin
 * @property {string} browser
 * @property {any} info               of GET /api/v1/info, null if not available
 * @property {{kind: 'token'|'open', restricted: boolean, ttl: number}|null} credentials
 * @property {Row[]} rows
 * @property {Measure} relay          relay to relay
 * @property {Measure} path           from the relay through the network to this browser
 * @property {import('./check-trace.js').Sighting[]|null} seen  what the server saw; null if it does not tell
 * @property {string} address         this browser's, as the server sees it; "" if it does not tell
 * @property {string[]} advice        codes of what the rows mean together
 */
/**
 * @typedef {Object} CheckOptions
 * @property {string} [token]         join token; none where the server checks openly
 * @property {string} [base]          origin of the server, default the page's own
 * @property {(result: Result) => void} [onUpdate]  called after every change
 * @property {number} [limit]         ms per URL, default {@link PROBE_LIMIT}
 */

/**
 * Runs the whole check; never rejects.
 * @param {CheckOptions} [options]
 * @returns {Promise<Result>}
 */
export async function runCheck(options = {}) {
  const {token = '', base = '', onUpdate = () => {}, limit = PROBE_LIMIT} = options;
  const begun = performance.now();
  const result = newResult(base || location.origin);
  const update = () => {
    result.ms = Math.round(performance.now() - begun);
    onUpdate(result);
  };
  update();
  /** @type {import('./check-trace.js').Trace|null} */
  let trace = null;
  try {
    const found = await fetchServers(result, base, token, update);
    trace = found.trace;
    result.seen = trace?.sightings ?? null;
    result.address = trace?.begun.address ?? '';
    result.rows = rowsOf(found.servers);
    if (!result.rows.length) throw new Refusal('no-servers');
    update();
    await Promise.all(result.rows.map((row) => probe(row, limit, update)));
    join(result, trace);
    await measure(result, trace, update);
    if (trace) await pause(LAST_LINES);
    join(result, trace);
    judge(result);
  } catch (e) {
    result.verdict = 'fail';
    result.reason = e instanceof Refusal ? e.reason : 'internal';
    result.detail = e instanceof Refusal ? e.detail : String(e);
  }
  trace?.close();
  update();
  return result;
}

/** ms in which the server tells what it saw last. */
const LAST_LINES = 500;

/** Says of each row and test what the server saw of it. @param {Result} result @param {import('./check-trace.js').Trace|null} trace */
function join(result, trace) {
  if (!trace) return;
  for (const row of result.rows) row.view = viewOf(row, seenOf(row, result.rows, trace.sightings), trace);
  const tests = trace.begun.iceServers.length;
  [result.relay, result.path].forEach((test, i) => {
    if (test.state === 'wait' || test.state === 'skip') return;
    test.view = testViewOf(trace.sightings.filter(({n}) => n === tests + i), test.state === 'pass');
    if (test.state === 'fail' && test.view.code === 'peer-refused') test.reason = 'peer-refused';
  });
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** @returns {Result} */
function newResult(/** @type {string} */ origin) {
  return {
    verdict: 'running', reason: '', detail: '', started: new Date().toISOString(), ms: 0,
    origin, browser: navigator.userAgent, info: null, credentials: null, rows: [],
    relay: newMeasure(), path: newMeasure(), seen: null, address: '', advice: [],
  };
}

/** @returns {Measure} */
function newMeasure() {
  return {state: 'wait', reason: '', detail: '', url: '', connectMs: null, sent: 0, lost: 0,
    rtts: [], bytes: 0, mbps: null, pair: null, view: UNKNOWN};
}

/** Ends the check before a URL was tried. */
class Refusal extends Error {
  /** @param {string} reason @param {string} [detail] */
  constructor(reason, detail = '') {
    super(reason);
    this.reason = reason;
    this.detail = detail;
  }
}

/**
 * @param {Result} result
 * @param {string} base
 * @param {string} token
 * @param {() => void} heard
 * @returns {Promise<{servers: RTCIceServer[], trace: import('./check-trace.js').Trace|null}>}
 */
async function fetchServers(result, base, token, heard) {
  if (typeof RTCPeerConnection === 'undefined') throw new Refusal('no-webrtc');
  const info = await fetch(base + '/api/v1/info').catch(() => null);
  if (!info) throw new Refusal('no-server');
  result.info = info.ok ? await info.json().catch(() => null) : null;
  const open = result.info?.check === 'open' || result.info?.auth === 'none';
  let bearer = token;
  let {answer, trace} = await openTrace(base, bearer, heard);
  if (bearer && answer?.status === 401 && open) { // a bad link must not be worse than none
    bearer = '';
    ({answer, trace} = await openTrace(base, bearer, heard));
  }
  if (!answer) throw new Refusal('no-server');
  if (trace) {
    const {restricted, ttl, iceServers} = trace.begun;
    result.credentials = {kind: bearer ? 'token' : 'open', restricted, ttl};
    return {servers: iceServers, trace};
  }
  if (answer.status === 404 || answer.status === 405) { // a server that does not tell what it sees
    answer = await ask(base, bearer);
    if (!answer) throw new Refusal('no-server');
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw refusalOf(answer, token, body);
  /** @type {RTCIceServer[]} */
  const servers = body.iceServers ?? [];
  const user = servers.find((s) => s.username)?.username ?? '';
  result.credentials = {
    kind: bearer ? 'token' : 'open',
    restricted: /^\d+:(check|r)\./.test(user),
    ttl: body.ttl ?? 0,
  };
  return {servers, trace: null};
}

/** @param {string} base @param {string} bearer @returns {Promise<Response|null>} */
function ask(base, bearer) {
  /** @type {RequestInit} */
  const init = {cache: 'no-store'};
  if (bearer) init.headers = {Authorization: `Bearer ${bearer}`};
  return fetch(base + '/api/v1/ice-servers', init).catch(() => null);
}

/** @param {Response} answer @param {string} token @param {{message?: string}} body */
function refusalOf(answer, token, {message = ''}) {
  if (answer.status === 429) return new Refusal('too-often', message);
  if (answer.status !== 401 && answer.status !== 403) {
    return new Refusal('api', `${answer.status} ${message}`.trim());
  }
  if (!token) return new Refusal('need-token', message);
  const now = Date.parse(answer.headers.get('Date') ?? '') || Date.now(); // the server's clock decides
  const expires = readToken(token)?.exp ?? Infinity;
  return new Refusal(expires * 1000 < now ? 'token-expired' : 'token-invalid', message);
}

/** @param {RTCIceServer[]} servers @returns {Row[]} */
export function rowsOf(servers) {
  /** @type {Map<string, Row>} */
  const rows = new Map();
  for (const server of servers) {
    for (const url of [server.urls].flat()) {
      if (!rows.has(url)) rows.set(url, newRow(url, server, rows.size));
    }
  }
  return [...rows.values()];
}

/** @param {string} url @param {RTCIceServer} server @param {number} n @returns {Row} */
function newRow(url, server, n) {
  const [, scheme, host, port, query] =
    /^(\w+):(\[[^\]]*\]|[^:?]*)(?::(\d+))?(?:\?(.*))?$/.exec(url) ?? ['', 'turn', '', '', ''];
  const tls = scheme === 'turns' || scheme === 'stuns';
  const tcp = /transport=tcp/.test(query ?? '');
  return {
    url, kind: scheme.startsWith('stun') ? 'stun' : 'turn',
    transport: tls ? 'tls' : tcp ? 'tcp' : 'udp',
    host: host.replace(/^\[|\]$/g, ''), port: Number(port) || (tls ? 5349 : 3478),
    state: 'wait', reason: '', ms: null, candidates: [], errors: [],
    server: {urls: url, username: server.username, credential: server.credential},
    n, view: UNKNOWN,
  };
}

/**
 * Asks one URL for a candidate, alone, so that every answer is its own.
 * @param {Row} row
 * @param {number} limit
 * @param {() => void} update
 */
async function probe(row, limit, update) {
  row.state = 'run';
  update();
  /** @type {RTCPeerConnection} */
  let pc;
  try {
    pc = new RTCPeerConnection({iceServers: [withoutEmpty(row.server)],
      iceTransportPolicy: row.kind === 'turn' ? 'relay' : 'all'});
  } catch {
    Object.assign(row, {state: 'fail', reason: 'bad-url'});
    update();
    return;
  }
  const begun = performance.now();
  const elapsed = () => Math.round(performance.now() - begun);
  const wanted = row.kind === 'turn' ? 'relay' : 'srflx';
  const complete = await new Promise((resolve) => {
    setTimeout(() => resolve(false), limit);
    pc.onicecandidate = ({candidate}) => {
      if (!candidate) resolve(true);
      if (!candidate?.candidate) return;
      const c = readCandidate(candidate, row, elapsed());
      row.candidates.push(c);
      if (c.type === wanted) row.ms ??= c.ms;
      update();
    };
    pc.onicecandidateerror = (e) => {
      row.errors.push({code: e.errorCode, text: e.errorText ?? '', ms: elapsed()});
    };
    pc.createDataChannel('check');
    pc.setLocalDescription().catch(() => resolve(true));
  });
  pc.close();
  const reason = explain(row, complete);
  row.reason = reason;
  row.state = reason === 'ok' || reason === 'ok-no-nat' ? 'pass'
    : reason === 'no-ipv6' ? 'skip' : 'fail';
  update();
}

/** Firefox refuses a user name that is there but undefined. @param {RTCIceServer} server @returns {RTCIceServer} */
function withoutEmpty({urls, username, credential}) {
  return username ? {urls, username, credential} : {urls};
}

/** @param {RTCIceCandidate} c @param {Row} row @param {number} ms @returns {Candidate} */
function readCandidate(c, row, ms) {
  const field = c.candidate.replace(/^candidate:/, '').split(' ');
  const address = (c.address ?? field[4] ?? '').replace(/^\[|\]$/g, '');
  const type = c.type ?? field[7] ?? '';
  return {
    type, protocol: c.protocol ?? field[2]?.toLowerCase() ?? '',
    // Firefox does not say; with one URL in this connection there is only one answer.
    relayProtocol: type === 'relay' ? /** @type {any} */ (c).relayProtocol ?? row.transport : null,
    family: addressFamily(address), address, port: c.port ?? Number(field[5]), ms,
  };
}

const FAST = 4000; // ms: an error before that is an answer, after that a browser's own time limit

/**
 * Why a URL came out as it did, from what Chromium 156 and Firefox 153 were seen to report:
 *
 *   ok, ok-no-nat    a candidate came; or none was due, because nobody translates our address
 *   auth             401 (400 from servers that confuse the two)
 *   quota, capacity, forbidden, redirect, refused     486, 508, 403, 300, any other code
 *   dns              701 within milliseconds on UDP, or "host lookup" in its text
 *   closed-tcp, closed-tls    701 at once: nobody listens; for TLS also a certificate not trusted
 *   silent-udp, silent-tcp, silent-tls   nothing until our limit: packets are dropped on the way
 *   tls-address      Firefox makes no attempt for turns: with an IP address
 *   no-ipv6          the URL is an IPv6 address and this device has none
 *   nothing          no candidate and no error: WebRTC is restricted in this browser
 *
 * @param {Row} row
 * @param {boolean} complete  the browser had finished before our limit
 * @returns {string}
 */
export function explain({kind, transport, host, candidates, errors, ms}, complete) {
  if (ms !== null) return 'ok';
  const answered = errors.find(({code}) => code >= 300 && code < 700);
  if (answered) return answerReason(answered.code);
  const early = errors.filter((e) => e.ms < FAST);
  const address = addressFamily(host);
  if (early.length && complete) {
    // Not before the end: a name without AAAA makes such an error, too, while A is tried.
    if (early.some(({text}) => /host lookup/i.test(text))) return 'dns';
    if (transport !== 'udp') return `closed-${transport}`;
    return address === 'IPv6' ? 'no-ipv6' : 'dns';
  }
  if (!complete || errors.length) return `silent-${transport}`;
  const visible = candidates.filter(({type, family}) => type === 'host' && family);
  if (kind === 'stun' && visible.some(({family}) => !address || family === address)) return 'ok-no-nat';
  if (address === 'IPv6') return 'no-ipv6';
  return transport === 'tls' && address ? 'tls-address' : 'nothing';
}

/** @param {number} code */
function answerReason(code) {
  const reasons = {300: 'redirect', 400: 'auth', 401: 'auth', 403: 'forbidden', 486: 'quota',
    508: 'capacity'};
  return reasons[/** @type {keyof typeof reasons} */ (code)] ?? 'refused';
}

/** @param {Result} result @param {import('./check-trace.js').Trace|null} trace @param {() => void} update */
async function measure(result, trace, update) {
  const order = ['udp', 'tcp', 'tls'];
  const relays = result.rows
    .filter((row) => row.kind === 'turn' && row.state === 'pass')
    .sort((a, b) => order.indexOf(a.transport) - order.indexOf(b.transport));
  if (!relays.length) {
    Object.assign(result.relay, {state: 'skip', reason: 'no-relay'});
    Object.assign(result.path, {state: 'skip', reason: 'no-relay'});
    return;
  }
  const best = relays[0];
  const restricted = result.credentials?.restricted ?? false;
  const as = (/** @type {RTCIceServer|undefined} */ who) => ({...best.server,
    username: who?.username ?? best.server.username, credential: who?.credential ?? best.server.credential});
  await relayTest(result.relay, as(trace?.begun.relay), {cap: restricted ? 3e6 : 8e6, update});
  if (restricted) {
    Object.assign(result.path, {state: 'skip', reason: 'restricted'});
    return;
  }
  const stun = result.rows.find((row) => row.kind === 'stun' && row.state === 'pass');
  const family = best.candidates.find(({type}) => type === 'relay')?.family ?? 'IPv4';
  await pathTest(result.path, as(trace?.begun.path), {stun: stun?.server ?? null, family, update});
}

/** @param {Result} result */
function judge(result) {
  const {rows, relay, path} = result;
  const turn = rows.filter(({kind}) => kind === 'turn');
  const failed = turn.filter(({state}) => state === 'fail');
  const all = failed.length > 0 && failed.length === turn.filter(({state}) => state !== 'skip').length;
  const only = (/** @type {RegExp} */ reason) => failed.every((row) => reason.test(row.reason));
  const common = failed.length && failed.every(({view}) => view.code === failed[0].view.code) ? failed[0].view.code : '';
  if (all && TOGETHER.has(common)) result.advice.push(common);
  else if (all && only(/^auth$/)) result.advice.push('all-auth');
  else if (all && only(/^(silent|closed)-/)) result.advice.push('unreachable');
  else if (all) result.advice.push('none-works');
  else if (failed.some(({reason}) => reason === 'silent-udp')) {
    result.advice.push(failed.some(({transport, view}) => transport === 'udp' && view.code === 'answer-lost') ? 'udp-answer-lost' : 'udp-blocked');
  } else if (failed.length) result.advice.push('some-work');
  if (!failed.length && relay.state === 'fail') result.advice.push('no-data');
  if (path.view.code === 'peer-refused') result.advice.push('peer-refused');
  else if (path.reason === 'range-closed') result.advice.push('range-closed');
  else if (path.reason === 'range-filtered') result.advice.push('range-filtered');
  if (path.state === 'skip' && relay.state === 'pass') result.advice.push('range-untested');
  const bad = [...rows, relay, path].some(({state}) => state === 'fail');
  result.verdict = bad ? 'fail' : 'pass';
}

/** Views that say more of all rows together than what the browser saw. */
const TOGETHER = new Set(['elsewhere', 'answer-lost', 'expired', 'bad_password', 'draining', 'tls-alert']);
