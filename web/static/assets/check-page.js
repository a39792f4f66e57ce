// @ts-check
/**
 * The check page: draws what /sdk/check.js measures.
 *
 * For tests: `?auto=1` starts without a click, `data-check` on <html> is
 * idle | running | pass | fail, and `window.rtcdCheckResult` is the whole Result.
 * @module
 */

import {runCheck} from '../sdk/check.js';
import {initDevice} from './check-device.js';
import {byId, fill, h, icon, svg} from './dom.js';
import {code, has, language, number, onLanguage, rich, t} from './i18n.js';
import {percentile, remedyOf, sightingDetail, sightingSubject, toMarkdown, viewRemedy, viewWords} from './report.js';
import {copy, initShell, readFragment} from './shell.js';

/** @typedef {import('../sdk/check.js').Result} Result */
/** @typedef {import('../sdk/check.js').Row} Row */
/** @typedef {import('../sdk/check-relay.js').Measure} Measure */

const STATE_ICON = {running: 'run', pass: 'pass', fail: 'fail', skip: 'skip', wait: 'wait', run: 'run'};

/** @type {Result|null} */
let result = null;
let drawn = ''; // the banner as it stands, so that screen readers hear each verdict once

const root = document.documentElement;
root.dataset.check = 'idle';

await initShell();
onLanguage(() => draw());
byId('run').addEventListener('click', start);
byId('copy').addEventListener('click', (/** @type {Event} */ e) => result &&
  copy(/** @type {HTMLElement} */ (e.currentTarget), toMarkdown(result, byId('mask').checked)));
initDevice(drawPair, await fetch('/api/v1/info').then((a) => a.json()).catch(() => null));
if (new URLSearchParams(location.search).get('auto') === '1') start();

async function start() {
  if (root.dataset.check === 'running') return;
  root.dataset.check = 'running';
  byId('run').disabled = true;
  drawn = '';
  const final = await runCheck({token: readFragment().token, onUpdate: (r) => {
    result = r;
    draw();
  }});
  /** @type {any} */ (window).rtcdCheckResult = final;
  root.dataset.check = final.verdict;
  byId('run').disabled = false;
  draw();
}

function draw() {
  if (!result) return;
  byId('run').textContent = t(result.verdict === 'running' ? 'check.running' : 'check.again');
  byId('version').textContent = result.info?.version ? `rtcd ${result.info.version}` : '';
  drawBanner(result);
  byId('results').hidden = result.rows.length === 0;
  drawRows(result);
  fill(byId('tests'), drawTest('relay', result.relay), drawTest('path', result.path));
  byId('more').hidden = result.rows.every((row) => row.candidates.length === 0);
  fill(byId('table'), drawTable(result.rows));
  byId('trace').hidden = !result.seen?.length;
  fill(byId('sightings'), drawSightings(result));
  byId('report').hidden = result.verdict === 'running';
}

/** @param {keyof typeof STATE_ICON} state */
function dot(state) {
  const spinning = state === 'run' || state === 'running';
  return h('span', {class: 'dot'}, icon(STATE_ICON[state], spinning ? 'icon spin' : 'icon'),
    h('span', {class: 'hidden-visually'}, t(`state.${STATE_ICON[state]}`)));
}

/** @param {Result} r */
function drawBanner(r) {
  const key = [r.verdict, r.reason, ...r.advice, language()].join(' ');
  if (key === drawn) return;
  drawn = key;
  const banner = byId('banner');
  banner.hidden = false;
  banner.className = `banner is-${r.verdict === 'running' ? 'run' : r.verdict}`;
  const title = r.reason ? t(`stop.${r.reason}`) : t(`verdict.${titleOf(r)}`);
  const advice = r.reason
    ? [remedy(`stop-remedy.${r.reason}`), r.detail && h('p', {class: 'small muted'}, t('check.said', {text: r.detail}))]
    : r.advice.map((code) => h('p', {}, rich(`advice.${code}`, {range: rangeOf(r)})));
  fill(banner, dot(r.verdict), h('h2', {}, title),
    advice.length ? h('div', {class: 'advice'}, advice) : null);
}

/** @param {Result} r */
function titleOf({verdict, rows, advice, relay}) {
  if (verdict !== 'fail') return verdict;
  const working = rows.some(({kind, state}) => kind === 'turn' && state === 'pass');
  return working && relay.state === 'pass' ? 'partly' : advice.length ? 'fail' : 'partly';
}

/** @param {Result} r */
function rangeOf({info}) {
  return info?.turn?.relay_ports ?? t('check.range-unknown');
}

/** @param {string} key @param {Record<string, any>} [values] */
function remedy(key, values) {
  return has(key) ? h('p', {}, rich(key, values)) : null;
}

/** Views whose remedy is the same for every address. */
const OF_ALL = new Set(['elsewhere', 'expired', 'bad_password', 'revoked', 'malformed', 'wrong_realm', 'draining', 'ports',
  'quota-user', 'quota-address', 'quota-total', 'quota-pace']);

/** What to do is said once, however many rows need it. @param {Result} r */
function drawRows(r) {
  const said = new Set();
  fill(byId('rows'), r.rows.map((row) => {
    const key = OF_ALL.has(row.view.code) ? row.view.code : `${row.reason} ${row.view.code} ${row.port} ${row.reason === 'dns' ? row.host : ''}`;
    const element = drawRow(row, r, !said.has(key));
    said.add(key);
    return element;
  }));
}

/** @param {Row} row @param {Result} r @param {boolean} explained  say what to do, too */
function drawRow(row, r, explained) {
  const what = [t(row.kind === 'stun' ? 'kind.stun' : `kind.turn-${row.transport}`), ...familiesOf(row)];
  if (row.reason === 'ok-no-nat') what.push(t('reason.ok-no-nat'));
  return h('li', {class: `row is-${row.state}`, 'data-url': row.url, 'data-state': row.state, 'data-reason': row.reason},
    dot(row.state),
    h('div', {}, h('div', {class: 'url'}, row.url), h('div', {class: 'what'}, what.join(' · '))),
    h('span', {class: 'ms'}, row.ms === null ? '' : t('unit.ms', {n: number(row.ms)})),
    (row.state === 'fail' || row.state === 'skip') && h('div', {class: 'why'},
      h('strong', {}, t(`reason.${row.reason}`, remedyOf(row, r))),
      server(row.view, remedyOf(row, r)),
      explained && (fromServer(row.view, remedyOf(row, r)) ?? remedy(`remedy.${row.reason}`, remedyOf(row, r))),
      seen(row)));
}

/** What the server saw. @param {import('../sdk/check-trace.js').View} view @param {Record<string, string|number>} values */
function server(view, values) {
  const words = viewWords(view, values);
  return words && h('p', {class: 'server', 'data-view': view.code}, h('span', {class: 'tag'}, t('check.server')), ' ', code(words));
}

/** What to do by that; null if the browser's own view says as much. @param {import('../sdk/check-trace.js').View} view @param {Record<string, string|number>} values */
function fromServer(view, values) {
  const words = viewRemedy(view, values);
  return words ? h('p', {}, code(words)) : null;
}

/** @param {Row} row */
function familiesOf({candidates, kind}) {
  const wanted = candidates.filter(({type}) => type === (kind === 'turn' ? 'relay' : 'srflx'));
  return [...new Set(wanted.map(({family}) => family).filter((f) => f !== null))];
}

/** @param {Row} row */
function seen({errors}) {
  if (!errors.length) return null;
  const texts = [...new Set(errors.map(({code, text}) => `${code} ${text}`.trim()))];
  return h('p', {class: 'seen'}, t('check.browser-said', {text: texts.join('; ')}));
}

/** @param {'relay'|'path'} name @param {Measure} m */
function drawTest(name, m) {
  const range = result ? rangeOf(result) : '';
  const values = {range, ufw: range.replace('-', ':'), detail: m.detail};
  const bad = m.state === 'fail' || m.state === 'skip';
  const saw = m.state === 'fail' ? server(m.view, values) : null;
  return h('article', {class: `card test is-${m.state}`, 'data-test': name, 'data-state': m.state, 'data-reason': m.reason},
    h('header', {}, dot(m.state),
      h('div', {}, h('h3', {}, t(`test.${name}`)), h('p', {}, t(`test.${name}-note`)))),
    m.rtts.length > 0 && [drawFigures(name, m), drawSpark(m)],
    bad && h('div', {class: 'why'}, h('strong', {}, t(`reason.${m.reason}`, values)), saw,
      (saw && fromServer(m.view, values)) || remedy(`remedy.${m.reason}`, values)));
}

/** A path of the test between two devices. @param {'direct'|'relay'} name @param {import('../sdk/check-pair.js').PairPath} m */
function drawPair(name, m) {
  const key = name === 'relay' ? 'relayed' : 'direct';
  // Without a direct path a call still works: that is a finding, not a fault.
  const state = m.state === 'fail' && name === 'direct' ? 'skip' : m.state;
  const reason = m.reason === 'not-connected' ? `${key}-not-connected` : m.reason;
  return h('article', {class: `card test is-${state}`, 'data-test': `pair-${name}`, 'data-state': m.state},
    h('header', {}, dot(state),
      h('div', {}, h('h3', {}, t(`test.${key}`)), h('p', {}, t(`test.${key}-note`)))),
    m.rtts.length > 0 && [drawFigures('path', m), drawSpark(m)],
    m.state === 'fail' && h('div', {class: 'why'}, h('strong', {}, t(`reason.${reason}`)), remedy(`remedy.${reason}`)));
}

/** @param {'relay'|'path'} name @param {Pick<Measure, 'rtts'|'lost'|'sent'|'connectMs'> & {mbps?: number|null, bytes?: number}} m */
function drawFigures(name, m) {
  const p = (/** @type {number} */ q) => number(percentile(m.rtts, q), 1);
  const figure = (/** @type {string} */ label, /** @type {string} */ value, /** @type {string} */ unit, /** @type {string} */ note) =>
    h('div', {}, h('dt', {}, label), h('dd', {}, value, h('small', {}, unit)), h('div', {class: 'note'}, note));
  return h('dl', {class: 'figures'},
    figure(t('figure.rtt'), p(0.5), 'ms', t('figure.spread', {min: p(0), p95: p(0.95)})),
    figure(t('figure.loss'), number((m.lost / m.sent) * 100, 1), '%', t('figure.of', {lost: m.lost, sent: m.sent})),
    name === 'relay' && typeof m.mbps === 'number'
      ? figure(t('figure.rate'), number(m.mbps, 1), 'Mbit/s', t('figure.bytes', {n: number((m.bytes ?? 0) / 1e6, 1)}))
      : figure(t('figure.connect'), m.connectMs === null ? '–' : number(m.connectMs), 'ms', ''));
}

/** The pings as bars: steady, jumping, or with a tail. @param {{rtts: number[]}} m */
function drawSpark({rtts}) {
  const top = Math.max(...rtts, 1);
  const width = 300 / rtts.length;
  return svg('svg', {class: 'spark', viewBox: '0 0 300 48', preserveAspectRatio: 'none', role: 'img',
    'aria-label': t('figure.spark', {n: rtts.length})},
  rtts.map((rtt, i) => {
    const height = Math.max(1.5, (rtt / top) * 46);
    return svg('rect', {x: (i * width).toFixed(2), y: (48 - height).toFixed(2),
      width: (width * 0.7).toFixed(2), height: height.toFixed(2), rx: 0.8});
  }));
}

/** @param {Result} r */
function drawSightings(r) {
  const heads = [['time', 'end'], ['saw', ''], ['for', ''], ['detail', '']];
  return h('table', {},
    h('thead', {}, h('tr', {}, heads.map(([key, place]) => h('th', {scope: 'col', class: place || false}, t(key === 'time' ? 'table.time' : `trace.${key}`))))),
    h('tbody', {}, (r.seen ?? []).map((s) => h('tr', {'data-see': s.see},
      h('td', {class: 'end'}, t('unit.ms', {n: number(s.at)})), h('td', {}, t(`see.${s.see}`)),
      h('td', {class: 'mono'}, sightingSubject(s, r)), h('td', {class: 'mono'}, sightingDetail(s))))));
}

/** @param {Row[]} rows */
function drawTable(rows) {
  const heads = ['url', 'type', 'protocol', 'over', 'family', 'address', 'time'];
  const lines = rows.flatMap((row) => row.candidates.map((c) => h('tr', {},
    h('td', {class: 'mono'}, row.url), h('td', {}, c.type), h('td', {}, c.protocol),
    h('td', {}, c.relayProtocol ?? '–'), h('td', {}, c.family ?? '–'),
    h('td', {class: 'mono'}, c.family === 'IPv6' ? `[${c.address}]:${c.port}` : `${c.address}:${c.port}`),
    h('td', {class: 'end'}, t('unit.ms', {n: number(c.ms)})))));
  return h('table', {},
    h('thead', {}, h('tr', {}, heads.map((key) => h('th', {scope: 'col', class: key === 'time' ? 'end' : false}, t(`table.${key}`))))),
    h('tbody', {}, lines));
}
