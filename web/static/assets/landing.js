// @ts-check
/** The landing page: what runs here, and the way into a room. @module */

import {readToken} from '../sdk/rtcd.js';
import {byId, fill, h, icon} from './dom.js';
import {language, onLanguage, rich, t} from './i18n.js';
import {copy, initShell, keepFragment, readFragment} from './shell.js';

/** @type {any} what GET /api/v1/info says; null when it does not answer */
let info = null;

await initShell();
onLanguage(draw);
addEventListener('hashchange', draw);
info = await fetch('/api/v1/info').then((a) => (a.ok ? a.json() : null)).catch(() => null);
draw();

function draw() {
  drawDoor();
  drawFacts();
  byId('version').textContent = info?.version ? `rtcd ${info.version}` : '';
  byId('snippet').textContent = [
    `import {connect, Call} from '${location.origin}/sdk/rtcd.js';`,
    '',
    `const hub = await connect({url: '${location.origin.replace(/^http/, 'ws')}/ws', token, room});`,
    'const call = new Call(hub, room, {tracks: stream.getTracks()});',
    "call.on('peer', (peer) => { video.srcObject = peer.stream; });",
  ].join('\n');
  keepFragment();
}

/** The way in depends on what the address carries and on what the server asks for. */
function drawDoor() {
  const {token, room} = readFragment();
  const door = byId('door');
  if (token) fill(door, ...withToken(token));
  else if (info?.auth === 'none') fill(door, ...withoutAuth(room));
  else fill(door, ...withoutToken());
}

/** @param {string} token */
function withToken(token) {
  const claims = readToken(token);
  if (!claims) return [h('h2', {}, t('home.bad-token')), h('p', {}, rich('home.bad-token-note'))];
  const expires = claims.exp ? new Date(claims.exp * 1000) : null;
  const over = expires !== null && expires.getTime() < Date.now();
  if (over) {
    return [h('h2', {}, t('home.expired')), h('p', {}, rich('home.expired-note', {date: date(expires)})), command(claims.room)];
  }
  const room = claims.room && claims.room !== '*' ? claims.room : '';
  return [
    h('h2', {}, room ? t('home.invited', {room}) : t('home.invited-any')),
    h('p', {class: 'muted'}, expires ? t('home.valid-until', {date: date(expires)}) : ''),
    h('div', {class: 'actions'},
      h('a', {class: 'button primary large', href: '/apps/call'}, icon('camera'), t('home.join')),
      h('a', {class: 'button', href: '/check'}, t('home.check-first'))),
  ];
}

/** @param {Date} when */
function date(when) {
  return new Intl.DateTimeFormat(language() === 'zh' ? 'zh-Hans' : 'en',
    {dateStyle: 'medium', timeStyle: 'short'}).format(when);
}

/** @param {string} room */
function withoutAuth(room) {
  const field = h('input', {class: 'field', name: 'room', required: true, maxlength: 64, value: room,
    'aria-label': t('home.room'), placeholder: t('home.room'), autocomplete: 'off'});
  const enter = (/** @type {Event} */ event) => {
    event.preventDefault();
    location.href = '/apps/call#' + new URLSearchParams({room: field.value.trim()});
  };
  return [
    h('h2', {}, t('home.open')), h('p', {class: 'muted'}, t('home.open-note')),
    h('form', {onsubmit: enter}, field, h('button', {class: 'button primary', type: 'submit'}, t('home.join'))),
  ];
}

function withoutToken() {
  return [h('h2', {}, t('home.no-token')), h('p', {class: 'muted'}, rich('home.no-token-note')), command('standup')];
}

/** @param {string} [room] */
function command(room) {
  const text = `rtcd token --room ${/^[\w.-]+$/.test(room ?? '') ? room : 'standup'}`;
  const button = h('button', {class: 'button', type: 'button', onclick: () => copy(button, text)}, t('home.copy'));
  return h('div', {class: 'command'}, h('pre', {tabindex: 0, role: 'region', 'aria-label': t('home.command')}, h('code', {}, text)), button);
}

function drawFacts() {
  const facts = byId('facts');
  if (!info) {
    fill(facts, h('dt', {}, t('home.server')), h('dd', {}, t('home.no-info')));
    return;
  }
  const {urls = [], realm = '', relay_ports: range = ''} = info.turn ?? {};
  const hub = `${location.origin.replace(/^http/, 'ws')}/ws`;
  fill(facts,
    fact('home.relay', h('ul', {}, urls.map((/** @type {string} */ url) => h('li', {}, h('code', {}, url), h('span', {class: 'tag'}, transport(url)), tested(url))))),
    fact('home.tested', drawTested()),
    fact('home.ports', range ? h('code', {}, `${range}/udp`) : '–'),
    fact('home.realm', realm || '–'),
    fact('home.hub', h('ul', {}, h('li', {}, h('code', {}, hub), h('span', {class: 'tag'}, t(`home.auth-${info.auth === 'none' ? 'none' : 'token'}`))))),
    fact('home.encryption', t(info.tls ? 'home.tls-on' : 'home.tls-off')));
}

/** @param {string} key @param {Node|string} value */
function fact(key, value) {
  return [h('dt', {}, t(key)), h('dd', {}, value)];
}

/** How a URL fared in the server's own test. @param {string} url */
function tested(url) {
  const state = info.self_test?.urls?.[url];
  if (!state || state === 'unknown') return null;
  const tone = {up: 'pass', down: 'fail', failing: 'skip'}[state] ?? 'skip';
  return h('span', {class: `state is-${tone}`, 'data-state': state}, icon(tone === 'pass' ? 'pass' : 'fail'), t(`home.state-${state}`));
}

function drawTested() {
  const test = info.self_test;
  if (!test) return t('home.tested-not');
  const states = Object.values(test.urls);
  const n = states.filter((s) => s === 'up').length;
  const values = {n, all: states.length, when: date(new Date(test.at))};
  return t(n === states.length ? 'home.tested-all' : 'home.tested-at', values);
}

/** @param {string} url */
function transport(url) {
  if (/^stuns?:/.test(url)) return 'STUN';
  if (url.startsWith('turns:')) return 'TURN · TLS';
  return /transport=tcp/.test(url) ? 'TURN · TCP' : 'TURN · UDP';
}
