// @ts-check
/** The files on their way, as rows with progress and buttons. @module */

import {canPick, ownSink, pickedSink} from '../sdk/rtcd.js';
import {fill, h, icon} from './dom.js';
import {language, number, t} from './i18n.js';
import {query} from './session.js';

/** @typedef {import('../sdk/transfers.js').Transfer} Transfer */
/** @typedef {import('../sdk/transfers.js').Transfers} Transfers */

const DRAW_EVERY = 250; // ms

/** One transfer's row, and what its speed is computed from. */
class Row {
  /** @param {Transfer} transfer */
  constructor(transfer) {
    this.transfer = transfer;
    this.bar = h('progress', {max: 1, value: 0});
    this.text = h('p', {class: 'figures'});
    this.title = h('p', {class: 'file-name', dir: 'auto'});
    this.actions = h('div', {class: 'actions'});
    this.element = h('li', {class: 'transfer', 'data-key': transfer.key}, this.title, this.bar, this.text, this.actions);
    this.shown = ''; // the buttons that are there: a new set only when it changes, so that focus stays
    /** @type {{time: number, at: number}[]} */
    this.samples = [];
    this.url = '';
  }

  /** Bytes a second over the last seconds; 0 when not known. */
  speed() {
    const {at} = this.transfer;
    const time = performance.now();
    this.samples.push({time, at});
    while (this.samples.length > 2 && time - this.samples[0].time > 5000) this.samples.shift();
    const first = this.samples[0];
    return time - first.time > 500 ? Math.max(0, (at - first.at) * 1000 / (time - first.time)) : 0;
  }
}

export class TransferList {
  /**
   * @param {HTMLElement} list
   * @param {Transfers} transfers
   * @param {{auto?: boolean}} [options]  auto: incoming files are accepted unasked, into the browser's own store
   */
  constructor(list, transfers, {auto = false} = {}) {
    this.list = list;
    this.transfers = transfers;
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    transfers.on('change', (transfer) => this._changed(transfer));
    transfers.on('offer', (transfer) => (auto || query.get('accept') === '1') && this.accept(transfer, true));
    setInterval(() => this.draw(), DRAW_EVERY);
    addEventListener('beforeunload', (e) => this.busy && e.preventDefault());
  }

  /** Something would be lost if the page were closed now. */
  get busy() {
    return [...this.rows.values()].some(({transfer}) => transfer.state === 'running' || transfer.state === 'paused');
  }

  /**
   * @param {Transfer} transfer
   * @param {boolean} [unasked]  without a click the person cannot be asked for a place
   */
  async accept(transfer, unasked = false) {
    try {
      if (transfer.earlier?.sink) await this.transfers.accept(transfer);
      else if (canPick() && !unasked) await this.transfers.accept(transfer, await pickedSink(transfer.name));
      else await this.transfers.accept(transfer, await ownSink(transfer.size));
    } catch (e) {
      if (!(e instanceof DOMException) || e.name !== 'AbortError') this.transfers.end(transfer, 'unwritable');
    }
  }

  /** @param {Transfer} transfer */
  _changed(transfer) {
    const row = this.rows.get(transfer.key);
    if (!this.transfers.all.has(transfer.key)) {
      if (row?.url) URL.revokeObjectURL(row.url);
      row?.element.remove();
      this.rows.delete(transfer.key);
    } else if (!row) {
      const made = new Row(transfer);
      this.rows.set(transfer.key, made);
      this.list.prepend(made.element);
      this._draw(made);
    } else if (row.element.dataset.state !== transfer.state) {
      this._draw(row); // new buttons at once; progress waits for its turn
    }
  }

  draw() {
    this.rows.forEach((row) => this._draw(row));
  }

  /** @param {Row} row */
  _draw(row) {
    const {transfer, bar} = row;
    const {state, size, at, direction} = transfer;
    const who = transfer.user || t('call.nameless');
    row.element.dataset.state = state;
    fill(row.title, icon(direction === 'in' ? 'down' : 'up'), h('b', {}, transfer.name), ' ',
      h('span', {class: 'muted'}, t(`files.${direction}`, {name: who})));
    bar.hidden = state === 'offered' || state === 'ended';
    bar.value = size ? at / size : Number(state === 'done');
    bar.setAttribute('aria-label', transfer.name);
    row.text.textContent = this._figures(row);
    const buttons = `${language()} ${state} ${Boolean(transfer.blob)}`;
    if (buttons === row.shown) return;
    row.shown = buttons;
    fill(row.actions, this._buttons(row));
  }

  /** @param {Row} row */
  _figures(row) {
    const {state, size, at, reason, earlier} = row.transfer;
    if (state === 'offered') {
      return earlier ? t('files.continues', {size: bytes(size), done: bytes(earlier.at)}) : bytes(size);
    }
    if (state === 'done') return t('files.done', {size: bytes(size)});
    if (state === 'ended') return t(`files-end.${REASONS.has(reason) ? reason : 'cancelled'}`);
    const done = t('files.of', {done: bytes(at), size: bytes(size), percent: number(size ? Math.floor(100 * at / size) : 100)});
    if (state === 'paused') return `${done} · ${t('files.paused')}`;
    const speed = row.speed();
    if (!speed) return done;
    return `${done} · ${t('files.speed', {rate: bytes(speed)})} · ${duration((size - at) / speed)}`;
  }

  /** @param {Row} row */
  _buttons(row) {
    const {transfer} = row;
    const {transfers} = this;
    const button = (/** @type {string} */ key, /** @type {() => void} */ onclick, primary = false) =>
      h('button', {class: primary ? 'button primary' : 'button', type: 'button', onclick, 'aria-label': `${t(key)}: ${transfer.name}`}, t(key));
    if (transfer.state === 'offered' && transfer.direction === 'in') {
      return [button(transfer.earlier ? 'files.resume' : 'files.accept', () => this.accept(transfer), true),
        button('files.refuse', () => transfers.end(transfer, 'refused'))];
    }
    if (!transfer.over) return [button('files.cancel', () => transfers.end(transfer, 'cancelled'))];
    const forget = button('files.forget', () => transfers.forget(transfer));
    if (!transfer.blob) return [forget];
    row.url ||= URL.createObjectURL(transfer.blob);
    return [h('a', {class: 'button primary', href: row.url, download: transfer.name}, t('files.save')), forget];
  }
}

const REASONS = new Set(['refused', 'cancelled', 'lost', 'changed', 'unreadable', 'damaged', 'unwritable']);
const UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];

/** A size in the language's words. @param {number} n */
export function bytes(n) {
  let i = 0;
  while (n >= 1000 && i < UNITS.length - 1) {
    n /= 1000;
    i++;
  }
  return new Intl.NumberFormat(language() === 'zh' ? 'zh-Hans' : 'en', {
    style: 'unit', unit: UNITS[i], unitDisplay: i ? 'short' : 'long', maximumFractionDigits: n < 10 && i ? 1 : 0,
  }).format(n);
}

/** @param {number} seconds */
function duration(seconds) {
  const [n, unit] = seconds < 90 ? [seconds, 'second'] : seconds < 5400 ? [seconds / 60, 'minute'] : [seconds / 3600, 'hour'];
  return new Intl.NumberFormat(language() === 'zh' ? 'zh-Hans' : 'en',
    {style: 'unit', unit, unitDisplay: 'long', maximumFractionDigits: 0}).format(Math.ceil(n));
}

/**
 * Lets files be dropped on an element, and chosen with a button.
 * @param {HTMLElement} zone
 * @param {(files: File[]) => void} take
 */
export function dropZone(zone, take) {
  const over = (/** @type {boolean} */ on) => zone.classList.toggle('dropping', on);
  zone.addEventListener('dragover', (e) => {
    if (!e.dataTransfer?.types.includes('Files')) return;
    e.preventDefault();
    over(true);
  });
  zone.addEventListener('dragleave', () => over(false));
  zone.addEventListener('drop', (e) => {
    e.preventDefault();
    over(false);
    // A folder has no bytes to read; what cannot be read says so when it is offered.
    const items = [...e.dataTransfer?.items ?? []].filter((item) => !item.webkitGetAsEntry?.()?.isDirectory);
    take(items.map((item) => item.getAsFile()).filter((file) => file !== null));
  });
}

/** Asks the person for files. @param {(files: File[]) => void} take */
export function chooseFiles(take) {
  const input = h('input', {type: 'file', multiple: true});
  input.addEventListener('change', () => take([...input.files ?? []]));
  input.click();
}
