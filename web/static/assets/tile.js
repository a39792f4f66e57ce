// @ts-check
/** The picture of one other person, with a name and how they are connected. @module */

import {connectionInfo} from '../sdk/rtcd.js';
import {badgeLine, numbers} from './badge.js';
import {fill, h, icon} from './dom.js';
import {t} from './i18n.js';

/** @typedef {import('../sdk/call.js').Peer} Peer */
/** @typedef {import('../sdk/hub.js').Member} Member */
/** @typedef {import('../sdk/connection.js').ConnectionInfo} ConnectionInfo */

export class Tile {
  /** @param {Peer} peer */
  constructor(peer) {
    this.peer = peer;
    /** @type {ConnectionInfo|null} */
    this.info = null;
    /** @type {Member|null} */
    this.member = null;
    this.video = h('video', {autoplay: true, playsinline: true});
    this.video.srcObject = peer.stream;
    this.face = h('div', {class: 'face'}, icon('person'));
    this.label = h('div', {class: 'label'});
    this.element = h('article', {class: 'tile'}, this.video, this.face, this.label);
    /** False where the browser wants a click before it makes sound. */
    this.audible = true;
    peer.on('track', () => this._play());
  }

  async _play() {
    try {
      await this.video.play();
    } catch (e) {
      if (!(e instanceof DOMException) || e.name !== 'NotAllowedError') return;
      this.audible = false;
      this.video.muted = true;
      this.video.play().catch(() => {});
    }
  }

  /** There is something to hear, and the browser waits for a click. */
  get silenced() {
    return !this.audible && this.member?.data?.mic !== false;
  }

  /** After a click. */
  unmute() {
    this.audible = true;
    this.video.muted = false;
  }

  async measure() {
    if (this.peer.pc.connectionState !== 'connected') return;
    this.info = await connectionInfo(this.peer.pc);
    this.draw();
  }

  /** @param {Member|null} [member] */
  draw(member = this.member) {
    this.member = member;
    const {data = {}, user, away} = member ?? {};
    const shows = data?.screen || data?.camera;
    this.face.hidden = Boolean(shows) || (data?.camera === undefined && this.video.videoWidth > 0);
    this.element.classList.toggle('shares', Boolean(data?.screen));
    const muted = data?.mic === false &&
      [icon('mic-off'), h('span', {class: 'hidden-visually'}, t('call.muted')), ' '];
    fill(this.label,
      h('span', {class: 'chip name-chip'}, muted, user || t('call.nameless'), away ? ` · ${t('call.away')}` : ''),
      this._badge());
  }

  _badge() {
    const state = this.peer.pc.connectionState;
    if (state !== 'connected') {
      const lost = state === 'failed' || state === 'disconnected';
      return h('span', {class: `chip badge ${lost ? 'lost' : ''}`}, h('span', {class: 'light'}),
        t(lost ? 'badge.lost' : 'badge.connecting'));
    }
    if (!this.info || this.info.state === 'none') return null;
    return h('span', {class: `chip badge ${this.info.state}`, title: numbers(this.info)}, h('span', {class: 'light'}),
      badgeLine(this.info));
  }
}
