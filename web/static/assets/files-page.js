// @ts-check
/**
 * The files page: any file to anyone in the room.
 *
 * For tests and diagnosis: `?auto=1` joins and `?accept=1` accepts without a click, `?relay=1`, `?via=udp|tcp|tls` and
 * `?server=1` choose the path, `?fallback=0` forbids the server. `window.rtcdFiles` has {hub, call, links, transfers,
 * state, send(peer, blob, name), accept(transfer)}; <html> has `data-app` and `data-error`, each row
 * `data-state` (offered running paused done ended).
 * @module
 */

import {Transfers} from '../sdk/rtcd.js';
import {badge} from './badge.js';
import {byId, fill, h} from './dom.js';
import {Frame} from './frame.js';
import {language, t} from './i18n.js';
import {inviteLink, isLocal} from './session.js';
import {copy} from './shell.js';
import {chooseFiles, dropZone, TransferList} from './transfer-list.js';

/** @typedef {import('../sdk/links.js').Link} Link */

const transfers = new Transfers();
const list = new TransferList(byId('transfers'), transfers);
const frame = new Frame({
  role: 'files',
  entered: (links) => transfers.bind(links),
  draw,
});
/** The row of each member, kept so that focus stays. @type {Map<string, HTMLElement>} */
const rows = new Map();

/** @type {any} */ (window).rtcdFiles = {
  get hub() { return frame.hub; },
  get call() { return frame.call; },
  get links() { return [...(frame.links?.all.values() ?? [])]; },
  get transfers() { return [...transfers.all.values()]; },
  get state() { return frame.state; },
  send: (/** @type {string} */ peer, /** @type {Blob} */ blob, /** @type {string} */ name) =>
    transfers.offer(/** @type {Link} */ (frame.links?.all.get(peer)), blob, name),
  accept: (/** @type {any} */ transfer) => list.accept(transfer, true),
};

byId('invite').addEventListener('click', (/** @type {Event} */ e) =>
  copy(/** @type {HTMLElement} */ (e.currentTarget), inviteLink('/apps/files')));
byId('leave').addEventListener('click', () => frame.end('ended', 'left-room'));

await frame.start();

/** @param {Link} link @param {File[]} files */
async function send(link, files) {
  for (const file of files) {
    await transfers.offer(link, file).catch(() => frame.say('notice.unreadable', 5000));
  }
}

function draw() {
  const links = [...(frame.links?.all.values() ?? [])];
  byId('stage-room').textContent = frame.room;
  byId('me').textContent = frame.hub?.user || t('call.nameless');
  byId('alone').hidden = links.length > 0;
  byId('alone').textContent = t(isLocal ? 'chat.nobody-local' : 'chat.nobody');
  for (const [id, row] of rows) {
    if (frame.links?.all.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  for (const link of links) drawMember(link);
  list.draw();
}

/** @param {Link} link */
function drawMember(link) {
  let row = rows.get(link.id);
  if (!row) {
    const made = h('li', {class: 'card target', 'data-peer': link.id}, h('div', {class: 'who'}),
      h('button', {class: 'button primary', type: 'button', onclick: () => chooseFiles((files) => send(link, files))}),
      h('p', {class: 'muted small'}));
    dropZone(made, (files) => send(link, files));
    byId('members').append(made);
    rows.set(link.id, made);
    row = made;
  }
  const name = link.member?.user || t('call.nameless');
  const [who, button, hint] = /** @type {HTMLElement[]} */ ([...row.children]);
  row.dataset.path = link.path;
  fill(who, h('span', {class: 'name'}, name),
    link.member?.away ? h('span', {class: 'tag'}, t('call.away')) : badge(link.info));
  if (button.dataset.language === language()) return;
  button.dataset.language = language();
  fill(button, t('files.send'));
  button.setAttribute('aria-label', t('files.send-to', {name}));
  hint.textContent = t('files.drop');
}
