// @ts-check
/**
 * What the applications for data have in common: a lobby, the room, an end, and the
 * session and connections behind them.
 *
 * <html> has `data-app` (loading lobby joining open ended error) and `data-error` (a code).
 * @module
 */

import {Call, Hub, Links} from '../sdk/rtcd.js';
import {byId, fill} from './dom.js';
import {has, language, onLanguage, rich, t} from './i18n.js';
import {claims, paths, problemOfToken, query, rememberedName, rememberName, room, token, whenLeft} from './session.js';
import {initShell} from './shell.js';

/** @typedef {'loading'|'lobby'|'joining'|'open'|'ended'|'error'} State */

/**
 * @typedef {Object} FrameOptions
 * @property {string} role    members with the same one see each other
 * @property {string} [room]  default: that of the address
 * @property {boolean} [lobby]  false: joins at once
 * @property {() => string} [name]  default: what the lobby's field says
 * @property {(links: Links, hub: Hub) => void} entered  called with each session that has joined
 * @property {() => void} draw
 * @property {() => void} [left]
 */

export class Frame {
  /** @param {FrameOptions} options */
  constructor(options) {
    this.options = options;
    this.room = options.room ?? room;
    /** @type {State} */
    this.state = 'loading';
    /** @type {Hub|null} */
    this.hub = null;
    /** @type {Call|null} */
    this.call = null;
    /** @type {Links|null} */
    this.links = null;
    /** @type {{code: string, detail: string}|null} */
    this.over = null;
    this.notice = '';
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this._timer = undefined;
  }

  /** Shows what can be said before joining; `?auto=1` joins without a click. */
  async start() {
    await initShell();
    onLanguage(() => this.draw());
    this._wire();
    const problem = await problemOfToken() || (this.room ? '' : 'no-room-named');
    if (problem) {
      this.end('error', problem);
      return;
    }
    byId('name').value = rememberedName();
    byId('name-label').hidden = Boolean(claims?.name);
    this._to('lobby');
    if (query.get('auto') === '1' || this.options.lobby === false) await this.join();
  }

  async join() {
    this.over = null;
    this._to('joining');
    const name = this.options.name?.() ?? byId('name').value.trim();
    if (!this.options.name) rememberName(name);
    const hub = new Hub({token: token || undefined, room: this.room, name: name || undefined, role: this.options.role});
    this.hub = hub;
    hub.on('state', (m) => this._onState(m));
    hub.on('peer', (m) => m.event === 'leave' && m.peer === hub.peer && this.end('error', 'put-out'));
    hub.on('problem', (e) => console.warn('rtcd:', e));
    try {
      await hub.open();
    } catch { // _onState has shown why
      return;
    }
    if (typeof RTCPeerConnection !== 'undefined') {
      this.call = new Call(hub, this.room, {media: false, role: this.options.role, ...paths()});
    }
    this.links = new Links(hub, this.room, {
      call: this.call ?? undefined, role: this.options.role, fallback: query.get('fallback') !== '0',
    });
    for (const event of ['link', 'gone', 'path', 'info']) this.links.on(event, () => this.options.draw());
    hub.on('peer', () => this.options.draw());
    this._to('open'); // first, because what is hidden cannot be given the focus
    this.options.entered(this.links, hub);
  }

  /** @param {'ended'|'error'} state @param {string} code @param {string} [detail] */
  end(state, code, detail = '') {
    this.over = {code, detail: has(`over.${code}`) ? '' : detail};
    this.say('');
    const {hub} = this;
    this.options.left?.();
    this.links?.close();
    this.call?.close();
    this.links = this.call = this.hub = null; // so that what the session says at its end is not heard
    hub?.close();
    this._to(state);
  }

  /** A line at the top, until the next or for so long. @param {string} key @param {number} [ms] */
  say(key, ms = 0) {
    clearTimeout(this._timer);
    this.notice = key;
    byId('notice').textContent = key ? t(key) : '';
    if (ms) this._timer = setTimeout(() => this.say(''), ms);
  }

  /** @param {State} state */
  _to(state) {
    const {dataset} = document.documentElement;
    this.state = state;
    dataset.app = state;
    dataset.error = state === 'error' ? this.over?.code ?? '' : '';
    this.draw();
  }

  /** @param {any} change */
  _onState({state, error, attempt}) {
    if (state === 'closed') {
      if (this.hub) this.end('error', error.code, error.message);
    } else if (state === 'reconnecting') {
      this.say('notice.line-lost');
    } else if (state === 'connecting' && attempt) {
      this.say('notice.connecting');
    } else if (state === 'open') {
      this.say('');
    }
  }

  _wire() {
    byId('entry').addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      this.join();
    });
    byId('again').addEventListener('click', () => this.join());
    whenLeft(() => this.hub?.close());
    addEventListener('pageshow', (e) => e.persisted && location.reload());
    addEventListener('hashchange', () => location.reload());
  }

  draw() {
    const {state, over} = this;
    byId('lobby').hidden = this.options.lobby === false || (state !== 'lobby' && state !== 'joining');
    byId('stage').hidden = state !== 'open';
    byId('over').hidden = over === null;
    byId('join').disabled = state === 'joining';
    byId('notice').textContent = this.notice ? t(this.notice) : '';
    byId('room').textContent = this.room;
    byId('expiry').textContent = expiry();
    drawOver(over, this.room);
    this.options.draw();
  }
}

/** Until when the link is good, in words. */
export function expiry() {
  if (!claims?.exp) return '';
  const format = new Intl.DateTimeFormat(language() === 'zh' ? 'zh-Hans' : 'en', {dateStyle: 'medium', timeStyle: 'short'});
  return t('call.expires', {date: format.format(new Date(claims.exp * 1000))});
}

/** @param {{code: string, detail: string}|null} over @param {string} name */
export function drawOver(over, name) {
  if (!over) return;
  const {code, detail} = over;
  const known = has(`over.${code}`) ? code : 'unknown';
  byId('over-title').textContent = t(`over.${known}`);
  fill(byId('over-text'), rich(`over-text.${known}`, {room: name || 'standup'}));
  byId('over-detail').textContent = detail;
  byId('again').hidden = ['no-token', 'bad-token', 'expired-token', 'no-room-named', 'no-webrtc'].includes(code);
}
