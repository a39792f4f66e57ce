// @ts-check
/**
 * The client library of rtcd: the hub, calls, data with a fallback, and what a connection is made of.
 * ES modules without dependencies; the wire is described in PROTOCOL.md.
 *
 *   import {connect, Call, connectionInfo} from 'https://rtc.example.com/sdk/rtcd.js';
 *   const hub = await connect({url: 'wss://rtc.example.com/ws', token, room: 'standup'});
 *   const call = new Call(hub, 'standup', {tracks: stream.getTracks()});
 *   call.on('peer', (peer) => { video.srcObject = peer.stream; });
 *   const {state, via, rtt} = await connectionInfo(peer.pc);  // 'relayed', 'udp', 23
 *
 * @module
 */

export {connect, Hub, RtcdError, readToken, PROTOCOL} from './hub.js';
export {Call, Peer} from './call.js';
export {Links, Link} from './links.js';
export {Transfers, Transfer} from './transfers.js';
export {canPick, pickedSink, ownSink, diskSink, memorySink} from './sinks.js';
export {connectionInfo, addressFamily} from './connection.js';
