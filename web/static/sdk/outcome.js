// @ts-check
/** Tells the server how a connection came about, so that its operator knows what share needs the relay. @module */

import {connectionInfo} from './connection.js';

/** @typedef {import('./hub.js').Hub} Hub */

const SETTLE = 1000; // ms after connecting, until the pair is the one that stays

/**
 * Reports the outcome of one connection, once: with its first success, or with its
 * failure if it never had one. Four words go to the server that the hub is on, no name
 * and no address; `report: false` in the options of `connect` keeps them here.
 */
export class Outcome {
  /** @param {Hub} hub @param {RTCPeerConnection} pc */
  constructor(hub, pc) {
    this.hub = hub;
    this.pc = pc;
    this.told = hub.options.report === false;
  }

  /** Takes a state of the connection; one that is over by the time tells nothing. */
  state() {
    const {connectionState} = this.pc;
    if (this.told || (connectionState !== 'connected' && connectionState !== 'failed')) return;
    this.told = true;
    setTimeout(() => this._tell(connectionState).catch(() => {}), connectionState === 'failed' ? 0 : SETTLE);
  }

  /** @param {'connected'|'failed'} result */
  async _tell(result) {
    const info = result === 'connected' ? await connectionInfo(this.pc) : null;
    if (info?.state === 'none') return;
    const {local = 'none', remote = 'none'} = info ?? {};
    const protocol = info?.via ?? info?.protocol ?? 'none';
    await fetch(new URL('/api/v1/ice-outcomes', this.hub.url.replace(/^ws/, 'http')), {
      method: 'POST',
      body: JSON.stringify({result, local, remote, protocol}),
      headers: await this._bearer(),
      keepalive: true,
    });
  }

  /** @returns {Promise<Record<string, string>>} */
  async _bearer() {
    const {token: source} = this.hub.options;
    const token = typeof source === 'function' ? await source() : source;
    return token ? {Authorization: `Bearer ${token}`} : {};
  }
}
