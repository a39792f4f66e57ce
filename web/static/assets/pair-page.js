// @ts-check
/**
 * The pair page: the devices of one person share a text and files. The address carries a code
 * besides the token; only pages with the same code meet.
 *
 * For tests and diagnosis: `?relay=1`, `?via=udp|tcp|tls` and `?server=1` choose the path. `window.rtcdPair` has
 * {hub, call, links, transfers, link, text, state, write(text), send(blob, name)}; <html> has `data-app`,
 * `data-error` and `data-paired` (how many other devices are there).
 * @module
 */

import {Transfers} from '../sdk/rtcd.js';
import {badge} from './badge.js';
import {byId, fill, h, svg} from './dom.js';
import {Frame} from './frame.js';
import {t} from './i18n.js';
import {qr} from './qr.js';
import {inviteLink, isLocal, room, token} from './session.js';
import {copy, keepFragment} from './shell.js';
import {chooseFiles, dropZone, TransferList} from './transfer-list.js';

/** @typedef {import('../sdk/links.js').Link} Link */
/** @typedef {import('../sdk/links.js').Links} Links */

const LONGEST = 12_000; // characters; as JSON in UTF-8 it stays under what a link takes
const SEND_AFTER = 150; // ms
const QUIET = 4; // modules around a QR code

const code = pairCode();
const link = inviteLink('/apps/pair', token ? {pair: code} : {room: pairRoom(), pair: code});
const kind = /Mobi|Android|iPhone|iPad/.test(navigator.userAgent) ? 'phone' : 'computer';
/** The shared text: the higher version wins, of equal ones that of the higher id. */
const shared = {text: '', version: 0, by: ''};
/** @type {ReturnType<typeof setTimeout>|undefined} */
let sending;

const transfers = new Transfers();
const list = new TransferList(byId('transfers'), transfers, {auto: true});
const frame = new Frame({
  role: `pair-${code}`,
  room: pairRoom(),
  lobby: false,
  name: () => t(`pair.${kind}`),
  entered,
  draw,
});
/** @type {HTMLTextAreaElement} */
const field = byId('text');

/** @type {any} */ (window).rtcdPair = {
  get hub() { return frame.hub; },
  get call() { return frame.call; },
  get links() { return others(); },
  get transfers() { return [...transfers.all.values()]; },
  get link() { return link; },
  get text() { return field.value; },
  get state() { return frame.state; },
  write(/** @type {string} */ text) {
    field.value = text;
    changed();
  },
  send: (/** @type {Blob} */ blob, /** @type {string} */ name) => send([new File([blob], name)]),
};

history.replaceState(null, '', new URL(link).hash);
keepFragment();
field.maxLength = LONGEST;
field.addEventListener('input', changed);
byId('copy-link').addEventListener('click', (/** @type {Event} */ e) => copy(/** @type {HTMLElement} */ (e.currentTarget), link));
byId('copy-text').addEventListener('click', (/** @type {Event} */ e) => copy(/** @type {HTMLElement} */ (e.currentTarget), field.value));
byId('clear').addEventListener('click', () => {
  field.value = '';
  changed();
  field.focus();
});
byId('send').addEventListener('click', () => chooseFiles(send));
byId('leave').addEventListener('click', () => frame.end('ended', 'left-pair'));
dropZone(byId('stage'), send);
drawCode();

await frame.start();

/** The code of the address, or a new one. */
function pairCode() {
  const given = new URLSearchParams(location.hash.slice(1)).get('pair') ?? '';
  if (/^[a-z0-9]{16,32}$/.test(given)) return given;
  return Array.from(crypto.getRandomValues(new Uint8Array(20)), (b) => (b % 32).toString(32)).join('');
}

/** Where everybody may open rooms, this is one of its own. */
function pairRoom() {
  return room || `pair-${code}`;
}

/** @returns {Link[]} */
function others() {
  return [...(frame.links?.all.values() ?? [])];
}

/** @param {Links} links */
function entered(links) {
  transfers.bind(links);
  links.on('link', tell);
  links.on('message', ({link: from, data}) => data?.type === 'text' && take(from, data));
  links.all.forEach(tell);
}

// ---- the text

function changed() {
  Object.assign(shared, {text: field.value.slice(0, LONGEST), version: shared.version + 1, by: frame.hub?.peer ?? ''});
  clearTimeout(sending);
  sending = setTimeout(() => others().forEach(tell), SEND_AFTER);
}

/** @param {Link} to */
function tell(to) {
  const {text, version, by} = shared;
  if (!version) return;
  to.send({type: 'text', text, version, by}).catch(() => {});
}

/** @param {Link} from @param {any} m */
function take(from, {text, version, by}) {
  if (typeof text !== 'string' || !Number.isSafeInteger(version) || typeof by !== 'string') return;
  if (version < shared.version || (version === shared.version && by <= shared.by)) return;
  Object.assign(shared, {text: text.slice(0, LONGEST), version, by});
  const {selectionStart, selectionEnd} = field;
  field.value = shared.text;
  if (document.activeElement === field) field.setSelectionRange(selectionStart, selectionEnd);
}

// ---- files

/** @param {File[]} files */
async function send(files) {
  if (!others().length) frame.say('pair.alone', 5000);
  for (const file of files) {
    for (const to of others()) {
      await transfers.offer(to, file).catch(() => frame.say('notice.unreadable', 5000));
    }
  }
}

// ---- drawing

function drawCode() {
  const rows = qr(link);
  const size = rows.length + 2 * QUIET;
  const path = rows.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : ''))).join('');
  fill(byId('code'), svg('svg', {viewBox: `0 0 ${size} ${size}`, 'shape-rendering': 'crispEdges', role: 'img', 'aria-labelledby': 'code-title'},
    svg('rect', {width: size, height: size, fill: '#fff'}), svg('path', {d: path, fill: '#000'})));
}

function draw() {
  const links = others();
  document.documentElement.dataset.paired = String(links.length);
  byId('link-note').textContent = t(isLocal ? 'pair.local' : 'pair.secret');
  byId('link-note').classList.toggle('warning', isLocal);
  byId('paired').hidden = links.length === 0;
  byId('invite').classList.toggle('is-small', links.length > 0);
  byId('send').disabled = links.length === 0;
  byId('status').textContent = t(links.length ? 'pair.connected' : 'pair.waiting');
  fill(byId('members'), links.map((other) => h('li', {'data-peer': other.id, 'data-path': other.path},
    h('span', {class: 'name'}, other.member?.user || t('call.nameless')),
    other.member?.away ? h('span', {class: 'tag'}, t('call.away')) : badge(other.info))));
  list.draw();
}
