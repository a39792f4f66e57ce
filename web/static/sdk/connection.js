// @ts-check
/** What a connection is made of, from getStats. @module */

/**
 * How a connection runs now.
 * @typedef {Object} ConnectionInfo
 * @property {'direct'|'relayed'|'none'} state   relayed if either end uses a TURN server
 * @property {'udp'|'tcp'|'tls'|null} via   how this end reaches its TURN server; null if this end uses none or the browser does not say
 * @property {'udp'|'tcp'|null} protocol    of the pair
 * @property {'IPv4'|'IPv6'|null} family
 * @property {string|null} local            candidate types: host, srflx, prflx, relay
 * @property {string|null} remote
 * @property {number|null} rtt              ms
 * @property {number|null} sending          bit/s since the last call with this connection
 * @property {number|null} receiving
 */

/** @type {WeakMap<RTCPeerConnection, {at: number, sent: number, received: number}>} */
const samples = new WeakMap();

/**
 * Says what the selected pair of a connection is.
 * @param {RTCPeerConnection} pc
 * @returns {Promise<ConnectionInfo>}
 */
export async function connectionInfo(pc) {
  const stats = await pc.getStats();
  const pair = selectedPair(stats);
  /** @type {any} */
  const local = pair && stats.get(pair.localCandidateId);
  /** @type {any} */
  const remote = pair && stats.get(pair.remoteCandidateId);
  if (!pair || !local || !remote) {
    return {state: 'none', via: null, protocol: null, family: null, local: null, remote: null,
      rtt: null, sending: null, receiving: null};
  }
  const relayed = local.candidateType === 'relay' || remote.candidateType === 'relay';
  const rtt = pair.currentRoundTripTime ??
    (pair.totalRoundTripTime / pair.responsesReceived || null);
  return {
    state: relayed ? 'relayed' : 'direct',
    via: local.candidateType === 'relay' ? relayProtocol(local) : null,
    protocol: local.protocol ?? null,
    family: addressFamily(local.address ?? local.ip) ?? addressFamily(remote.address ?? remote.ip),
    local: local.candidateType,
    remote: remote.candidateType,
    rtt: rtt === null ? null : Math.round(rtt * 1000),
    ...rates(pc, pair),
  };
}

/** @param {RTCStatsReport} stats @returns {any} */
function selectedPair(stats) {
  /** @type {any[]} */
  const all = [...stats.values()];
  const transport = all.find((s) => s.type === 'transport' && s.selectedCandidatePairId);
  return stats.get(transport?.selectedCandidatePairId) ??
    all.find((s) => s.type === 'candidate-pair' && s.selected) ??
    all.find((s) => s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded');
}

/** Firefox names no relayProtocol in places: then the server's URL says it, or nobody. @param {any} c */
function relayProtocol(c) {
  if (c.relayProtocol) return c.relayProtocol;
  if (!c.url) return null;
  if (c.url.startsWith('turns:')) return 'tls';
  return /[?&]transport=tcp/.test(c.url) ? 'tcp' : 'udp';
}

/** @param {RTCPeerConnection} pc @param {any} pair */
function rates(pc, pair) {
  const now = {at: pair.timestamp, sent: pair.bytesSent ?? 0, received: pair.bytesReceived ?? 0};
  const last = samples.get(pc);
  samples.set(pc, now);
  const seconds = last ? (now.at - last.at) / 1000 : 0;
  if (!last || seconds <= 0) return {sending: null, receiving: null};
  const rate = (/** @type {number} */ n) => Math.max(0, Math.round((n * 8) / seconds));
  return {sending: rate(now.sent - last.sent), receiving: rate(now.received - last.received)};
}

/**
 * @param {string|null|undefined} address
 * @returns {'IPv4'|'IPv6'|null}  null for an mDNS name or none at all
 */
export function addressFamily(address) {
  if (!address) return null;
  if (address.includes(':')) return 'IPv6';
  return /^\d+\.\d+\.\d+\.\d+$/.test(address) ? 'IPv4' : null;
}
