// @ts-check
/**
 * The chat page: everyone in a room, by data channels, with the server as the fallback.
 *
 * For tests and diagnosis: `?auto=1` joins without a click, `?relay=1`, `?via=udp|tcp|tls` and `?server=1` choose
 * the path, `?fallback=0` forbids the server. `window.rtcdChat` has {hub, call, links, lines, state, say(text)};
 * <html> has `data-app`, `data-error`, and `data-paths`: how many links run by channel and by server.
 * @module
 */

import {badge} from './badge.js';
import {ChatPanel} from './chat-panel.js';
import {byId, fill, h} from './dom.js';
import {Frame} from './frame.js';
import {t} from './i18n.js';
import {inviteLink, isLocal} from './session.js';
import {copy} from './shell.js';

const panel = new ChatPanel();
const frame = new Frame({
  role: 'chat',
  entered(links) {
    panel.bind(links);
    byId('text').focus();
  },
  draw,
});

/** @type {any} */ (window).rtcdChat = {
  get hub() { return frame.hub; },
  get call() { return frame.call; },
  get links() { return [...(frame.links?.all.values() ?? [])]; },
  get lines() { return panel.lines.map(({kind, name, text, proof}) => ({kind, name, text, proof})); },
  get state() { return frame.state; },
  say(/** @type {string} */ text) {
    panel.field.value = text;
    return panel.say();
  },
};

byId('invite').addEventListener('click', (/** @type {Event} */ e) =>
  copy(/** @type {HTMLElement} */ (e.currentTarget), inviteLink('/apps/chat')));
byId('leave').addEventListener('click', () => frame.end('ended', 'left-room'));
let language = '';

await frame.start();

function draw() {
  if (language !== document.documentElement.lang) {
    language = document.documentElement.lang;
    panel.draw();
  }
  const links = [...(frame.links?.all.values() ?? [])];
  document.documentElement.dataset.paths =
    `${links.filter((l) => l.path === 'channel').length} ${links.filter((l) => l.path === 'server').length}`;
  byId('stage-room').textContent = frame.room;
  byId('alone').hidden = links.length > 0;
  byId('alone').textContent = t(isLocal ? 'chat.nobody-local' : 'chat.nobody');
  fill(byId('members'),
    h('li', {}, h('span', {class: 'name'}, frame.hub?.user || t('call.nameless')), h('span', {class: 'tag'}, t('call.you'))),
    links.map((link) => h('li', {'data-peer': link.id, 'data-path': link.path},
      h('span', {class: 'name'}, link.member?.user || t('call.nameless')),
      link.member?.away ? h('span', {class: 'tag'}, t('call.away')) : badge(link.info))));
}
