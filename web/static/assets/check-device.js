// @ts-check
/**
 * The check page's other device: a code that opens the page there, and the test between
 * the two.
 *
 * For tests: `window.rtcdPairCheck` is the PairCheck, `window.rtcdPairLink` what the code says, `data-pair` on <html> is
 * none | off | waiting | running | done | error.
 * @module
 */

import {Hub} from '../sdk/hub.js';
import {PairCheck} from '../sdk/check-pair.js';
import {badgeLine} from './badge.js';
import {byId, fill, h, icon, svg} from './dom.js';
import {onLanguage, rich, t} from './i18n.js';
import {qr} from './qr.js';
import {claims, inviteLink, isLocal, room as named, token} from './session.js';
import {copy} from './shell.js';

const QUIET = 4; // modules around a QR code

const root = document.documentElement;
const given = new URLSearchParams(location.hash.slice(1)).get('pair') ?? '';
const invited = /^[a-z0-9]{16,32}$/.test(given);
const code = invited ? given : newCode();
/** @type {PairCheck|null} */
let pair = null;
/** @type {'off'|'joining'|'on'|'error'} */
let state = 'off';
let problem = '';
let possible = Boolean(token); // whether the hub lets us in

/**
 * @param {(name: 'direct'|'relay', m: import('../sdk/check-pair.js').PairPath) => Node} drawTest
 * @param {any} info  of GET /api/v1/info
 */
export function initDevice(drawTest, info) {
  possible ||= info?.auth === 'none';
  const room = named || `check-${code}`;
  const link = possible ? inviteLink('/check', claims?.room && claims.room !== '*' ? {pair: code} : {room, pair: code})
    : `${location.origin}/check`;
  byId('copy-link').addEventListener('click', (/** @type {Event} */ e) => copy(/** @type {HTMLElement} */ (e.currentTarget), link));
  byId('start-pair').addEventListener('click', () => start(room));
  if (invited) byId('results').before(byId('device')); // on this device that is what the page was opened for
  drawCode(link);
  /** @type {any} */ (window).rtcdPairLink = link;
  onLanguage(() => draw());
  draw();
  if (invited && possible) start(room);

  function draw() {
    root.dataset.pair = !possible ? 'none' : state === 'on' ? pair?.state ?? 'waiting' : state;
    byId('device').hidden = false;
    const note = isLocal ? 'pair.local' : possible ? 'device.secret' : 'device.no-pair';
    byId('link-note').textContent = t(note);
    byId('link-note').classList.toggle('warning', isLocal);
    byId('start-pair').hidden = !possible || state !== 'off';
    byId('device-code').hidden = invited || pair?.other != null;
    drawState();
  }

  function drawState() {
    const where = byId('pair-state');
    where.hidden = state === 'off';
    if (state === 'error') {
      where.className = 'banner is-fail';
      fill(where, dot('fail'), h('h2', {}, t('device.no-room')), h('div', {class: 'advice'}, h('p', {}, problem)));
    } else if (state !== 'off') {
      drawVerdict(where);
    }
    byId('pair-tests').hidden = !pair || pair.state === 'waiting';
    if (pair) fill(byId('pair-tests'), drawTest('direct', pair.direct), drawTest('relay', pair.relay));
  }

  /** @param {HTMLElement} where */
  function drawVerdict(where) {
    const verdict = pair?.verdict ?? '';
    const tone = !verdict ? 'run' : verdict === 'both' || verdict === 'relay-only' ? 'pass' : 'fail';
    where.className = `banner is-${tone}`;
    const key = verdict || (pair?.state === 'running' ? 'running' : 'waiting');
    fill(where, dot(tone), h('h2', {}, t(`device.${key}`)),
      h('div', {class: 'advice'}, h('p', {}, rich(`device-note.${key}`)),
        verdict && pair?.direct.pair && h('p', {}, h('span', {class: 'tag'}, badgeLine(pair.direct.pair)))));
  }

  /** @param {string} where */
  async function start(where) {
    if (state === 'joining' || state === 'on') return;
    state = 'joining';
    draw();
    const hub = new Hub({token: token || undefined, room: where, role: `check-${code}`});
    hub.on('state', (m) => m.state === 'closed' && m.error && m.error.code !== 'closed' && fail(m.error));
    try {
      await hub.open();
    } catch (e) {
      fail(e);
      return;
    }
    state = 'on';
    pair = new PairCheck(hub, where, {role: `check-${code}`, onUpdate: draw});
    /** @type {any} */ (window).rtcdPairCheck = pair;
    addEventListener('pagehide', () => hub.close());
    draw();
  }

  /** @param {any} e */
  function fail(e) {
    state = 'error';
    problem = e?.message || String(e?.code ?? e);
    draw();
  }
}

/** @param {'run'|'pass'|'fail'} tone */
function dot(tone) {
  return h('span', {class: 'dot'}, icon(tone, tone === 'run' ? 'icon spin' : 'icon'),
    h('span', {class: 'hidden-visually'}, t(`state.${tone}`)));
}

/** @param {string} link */
function drawCode(link) {
  const rows = qr(link);
  const size = rows.length + 2 * QUIET;
  const path = rows.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : ''))).join('');
  fill(byId('code'), svg('svg', {viewBox: `0 0 ${size} ${size}`, 'shape-rendering': 'crispEdges', role: 'img', 'aria-labelledby': 'code-title'},
    svg('rect', {width: size, height: size, fill: '#fff'}), svg('path', {d: path, fill: '#000'})));
}

function newCode() {
  return Array.from(crypto.getRandomValues(new Uint8Array(20)), (b) => (b % 32).toString(32)).join('');
}
