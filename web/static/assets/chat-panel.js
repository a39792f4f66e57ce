// @ts-check
/** A conversation: what was said, and a field to say something. Text only. @module */

import {byId, fill, h} from './dom.js';
import {language, t} from './i18n.js';

/** @typedef {import('../sdk/links.js').Links} Links */
/**
 * One line of the conversation: said by me or another, or told by the page.
 * @typedef {Object} Line
 * @property {'mine'|'theirs'|'note'} kind
 * @property {string} name
 * @property {string} text   of a note: the key of its words
 * @property {Date} at
 * @property {string} proof  the key of what is known of its arrival, "" for nothing
 * @property {HTMLElement} [element]
 */

const LONGEST = 4000; // characters
const KEPT = 500; // lines

export class ChatPanel {
  /** Uses #log, #compose and #text. */
  constructor() {
    /** @type {Links|null} */
    this.links = null;
    /** @type {Line[]} */
    this.lines = [];
    this.unread = 0;
    this.log = byId('log');
    /** Whether the newest line is in sight, and shall stay so: also when a phone's keyboard takes half of the page. */
    this.atEnd = true;
    this.log.addEventListener('scroll', () => { this.atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 80; });
    new ResizeObserver(() => this.atEnd && this._toEnd()).observe(this.log);
    /** @type {HTMLTextAreaElement} */
    this.field = byId('text');
    this.field.maxLength = LONGEST;
    byId('compose').addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      this.say();
    });
    this.field.addEventListener('keydown', (e) => {
      if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return;
      e.preventDefault();
      this.say();
    });
    this.field.addEventListener('input', () => this._grow());
  }

  /** Takes the links of a room just entered. @param {Links} links */
  bind(links) {
    this.links = links;
    links.on('message', ({link, data}) => {
      if (data?.type !== 'chat' || typeof data.text !== 'string') return;
      this.unread++;
      this._add({kind: 'theirs', name: link.member?.user ?? '', text: data.text.slice(0, LONGEST), at: new Date(), proof: ''});
    });
    links.on('link', (link) => this.note('chat.came', link));
    links.on('gone', (link) => this.note('chat.went', link));
    links.all.forEach((link) => this.names.set(link.id, link.member?.user ?? ''));
  }

  /** Names of those who may have left. @type {Map<string, string>} */
  names = new Map();

  /** @param {'chat.came'|'chat.went'} key @param {import('../sdk/links.js').Link} link */
  note(key, link) {
    const name = link.member?.user ?? this.names.get(link.id) ?? '';
    this.names.set(link.id, name);
    this._add({kind: 'note', name, text: key, at: new Date(), proof: ''});
  }

  /** Sends what the field has. */
  async say() {
    const text = this.field.value.trim();
    if (!text || !this.links) return;
    this.field.value = '';
    this._grow();
    const alone = this.links.all.size === 0;
    const line = this._add({kind: 'mine', name: '', text, at: new Date(), proof: alone ? 'chat.alone' : 'chat.sending'});
    if (alone) return;
    const {sent, received} = await this.links.broadcast({type: 'chat', text}).catch(() => ({sent: 1, received: 0}));
    line.proof = received === sent ? 'chat.arrived' : received ? 'chat.arrived-some' : 'chat.not-arrived';
    this._draw(line);
  }

  /** After a change of language. */
  draw() {
    for (const line of this.lines) this._draw(line);
  }

  /** @param {Line} line */
  _add(line) {
    this.lines.push(line);
    line.element = h('li', {class: `line ${line.kind}`});
    this._draw(line);
    this.log.append(line.element);
    if (this.lines.length > KEPT) this.lines.shift()?.element?.remove();
    if (this.atEnd || line.kind === 'mine') this._toEnd();
    return line;
  }

  _toEnd() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  /** @param {Line} line */
  _draw({kind, name, text, at, proof, element}) {
    if (!element) return;
    const who = name || t('call.nameless');
    if (kind === 'note') {
      fill(element, t(text, {name: who}));
      return;
    }
    const time = new Intl.DateTimeFormat(language() === 'zh' ? 'zh-Hans' : 'en', {timeStyle: 'short'}).format(at);
    fill(element,
      h('p', {class: 'who'}, kind === 'mine' ? t('call.you') : who, ' ', h('time', {datetime: at.toISOString()}, time),
        proof && h('span', {class: 'proof'}, ` · ${t(proof)}`)),
      h('p', {class: 'said', dir: 'auto'}, text));
  }

  _grow() {
    this.field.rows = Math.min(6, this.field.value.split('\n').length);
  }
}
