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
  const {state, rtt} = info;
  return h('span', {class: `badge-chip is-${state}`, title: numbers(info)}, h('span', {class: 'light'}),
    badgeText(info), rtt === null || state === 'none' ? '' : ` · ${t('unit.ms', {n: number(rtt)})}`);
}

/** @param {LinkInfo} info */
export function badgeText({state, via, protocol, local}) {
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
