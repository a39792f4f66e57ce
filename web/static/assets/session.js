// @ts-check
/** What the applications take from their address: the token, the room, and the way to it. @module */

import {readToken} from '../sdk/rtcd.js';
import {readFragment} from './shell.js';

/** For tests and diagnosis: see each page. */
export const query = new URLSearchParams(location.search);

export const {token, room: named} = readFragment();

/** What the token says; null without one, or if it is none. */
export const claims = token ? readToken(token) : null;

/** The token's room wins; a token for all rooms lets the address choose. */
export const room = claims?.room && claims.room !== '*' ? claims.room : named;

/** @returns {Promise<string>} an error code, "" if the token, if one is needed, looks good */
export async function problemOfToken() {
  if (token && !claims) return 'bad-token';
  if (claims?.exp && claims.exp * 1000 < Date.now()) return 'expired-token';
  if (token) return '';
  const info = await fetch('/api/v1/info').then((a) => a.json()).catch(() => null);
  return info && info.auth !== 'none' ? 'no-token' : '';
}

/** The same room for somebody else. @param {string} path @param {Record<string, string>} [more] */
export function inviteLink(path, more = {}) {
  const fragment = new URLSearchParams(token ? {token} : {room});
  if (token && claims?.room !== room && room) fragment.set('room', room);
  for (const [key, value] of Object.entries(more)) fragment.set(key, value);
  return `${location.origin}${path}#${fragment}`;
}

/** A link from here leads nowhere else. */
export const isLocal = /^(localhost|127\.|\[::1\])/.test(location.hostname);

/**
 * `?relay=1` admits no direct path, `?via=udp|tcp|tls` only TURN over that, `?server=1` none at all.
 * @returns {{rtc: RTCConfiguration, use: (url: string) => boolean}}
 */
export function paths() {
  const via = query.get('via');
  const relay = query.get('relay') === '1' || query.get('server') === '1' || via;
  return {rtc: relay ? {iceTransportPolicy: 'relay'} : {}, use: ofTransport(via)};
}

/** @param {string|null} via @returns {(url: string) => boolean} */
function ofTransport(via) {
  if (query.get('server') === '1') return () => false;
  if (via === 'tls') return (url) => url.startsWith('turns:');
  if (via === 'tcp') return (url) => /^turn:.*transport=tcp/.test(url);
  return via === 'udp' ? (url) => /^turn:(?!.*transport=tcp)/.test(url) : () => true;
}

/**
 * Calls when the page is left, so that the others know at once. Firefox has closed its sockets by the time of
 * `pagehide`; there it is said before, unless the page asks the person whether to stay.
 * @param {() => void} leave
 */
export function whenLeft(leave) {
  addEventListener('beforeunload', (e) => e.defaultPrevented || leave());
  addEventListener('pagehide', leave);
}

export function rememberedName() {
  try {
    return claims?.name || localStorage.getItem('rtcd.name') || '';
  } catch { // a browser without storage forgets the name
    return claims?.name || '';
  }
}

/** @param {string} name */
export function rememberName(name) {
  try {
    if (!claims?.name) localStorage.setItem('rtcd.name', name);
  } catch { /* a browser without storage forgets the name */ }
}
