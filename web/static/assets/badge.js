// @ts-check
/** The badge that says how data gets from one to the other. @module */

import {h} from './dom.js';
import {number, t} from './i18n.js';

/** @typedef {import('../sdk/links.js').LinkInfo} LinkInfo */

/**
 * @param {LinkInfo} info
 * @returns {HTMLElement}
 */
export function badge(info) {
  return h('span', {class: `badge-chip is-${info.state}`, title: numbers(info)}, h('span', {class: 'light'}),
    badgeLine(info));
}

const IDLE = 50_000; // bit/s; below that a connection only keeps itself alive

/** How, with the round-trip time, and the bit rate of both directions where something flows. @param {LinkInfo} info */
export function badgeLine(info) {
  const {state, rtt, sending, receiving} = info;
  const line = [badgeText(info)];
  const rate = (sending ?? 0) + (receiving ?? 0);
  if (state !== 'none' && rtt !== null) line.push(t('unit.ms', {n: number(rtt)}));
  if (state !== 'none' && rate >= IDLE) line.push(`${number(rate / 1e6, 1)} Mbit/s`);
  return line.join(' · ');
}

/** @param {LinkInfo} info */
function badgeText({state, via, protocol, local}) {
  if (state === 'none') return t('badge.connecting');
  if (state === 'server') return t('badge.server');
  if (state === 'direct') return t('badge.direct', {protocol: (protocol ?? '').toUpperCase()});
  if (via) return t('badge.relayed', {via: via.toUpperCase()});
  return t(local === 'relay' ? 'badge.relayed-somehow' : 'badge.relayed-there');
}

/** The numbers behind it. @param {LinkInfo} info */
export function numbers({state, local, remote, family, sending, receiving}) {
  if (state === 'none') return '';
  if (state === 'server') return t('badge.server-note');
  const rate = (/** @type {number|null} */ n) => (n === null ? '–' : number(n / 1e6, 2));
  return `${local} ↔ ${remote} · ${family ?? '–'} · ↑ ${rate(sending)} ↓ ${rate(receiving)} Mbit/s`;
}
