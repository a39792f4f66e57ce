// @ts-check
/** The check as Markdown, to paste into a question. @module */

import {has, t} from './i18n.js';

/** @typedef {import('../sdk/check.js').Result} Result */
/** @typedef {import('../sdk/check.js').Row} Row */
/** @typedef {import('../sdk/check-relay.js').Measure} Measure */
/** @typedef {import('../sdk/check-trace.js').View} View */

/** @param {number[]} values @param {number} q  0…1 */
export function percentile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}

/** What the words of a reason may name. @param {Row} row @param {Result|null} result */
export function remedyOf(row, result) {
  const proto = row.transport === 'udp' ? 'UDP' : 'TCP';
  return {url: row.url, host: row.host, port: row.port, proto, lower: proto.toLowerCase(), code: row.errors[0]?.code ?? 0,
    range: result?.info?.turn?.relay_ports ?? ''};
}

/**
 * @param {Result} r
 * @param {boolean} masked  hide the greater part of every address
 * @returns {string}
 */
export function toMarkdown(r, masked) {
  const lines = [
    `## rtcd check: ${r.verdict}`, '',
    `- ${t('report.when')}: ${r.started} (${(r.ms / 1000).toFixed(1)} s)`,
    `- ${t('report.server')}: ${r.origin}, rtcd ${r.info?.version ?? '?'}`,
    `- ${t('report.browser')}: ${r.browser}`,
  ];
  if (r.credentials) lines.push(`- ${t('report.credentials')}: ${r.credentials.kind}${r.credentials.restricted ? ', restricted' : ''}`);
  if (r.reason) lines.push(`- ${t(`stop.${r.reason}`)} ${r.detail}`);
  for (const code of r.advice) lines.push(`- ${t(`advice.${code}`, {range: r.info?.turn?.relay_ports ?? ''})}`);
  if (r.rows.length) lines.push('', ...rowLines(r), '', ...testLines(r), '', ...traceLines(r), '', ...candidateLines(r));
  const text = lines.join('\n') + '\n';
  return masked ? mask(text) : text;
}

/** What the server saw of a row or a test, in words; "" if it cannot say. @param {View} view @param {Record<string, string|number>} values */
export function viewWords(view, values) {
  return has(`seen.${view.code}`) ? t(`seen.${view.code}`, {...values, what: t('seen.what'), ...view.values}) : '';
}

/** What to do, by what the server saw; "" if that says nothing. @param {View} view @param {Record<string, string|number>} values */
export function viewRemedy(view, values) {
  return has(`seen-remedy.${view.code}`) ? t(`seen-remedy.${view.code}`, {...values, ...view.values}) : '';
}

/** What else a sighting says. @param {import('../sdk/check-trace.js').Sighting} s */
export function sightingDetail(s) {
  const parts = [s.code, s.why, s.peer, s.name, s.client && ['bound', 'challenged', 'connected'].includes(s.see) ? s.client : '',
    s.see === 'allocated' ? s.relays?.join(', ') : '',
    s.sent || s.received ? t('trace.bytes', {sent: s.sent ?? 0, received: s.received ?? 0}) : ''];
  return parts.filter(Boolean).join(' ');
}

/** What a sighting is about: a URL, a test, or any of this address. @param {import('../sdk/check-trace.js').Sighting} s @param {Result} r */
export function sightingSubject(s, r) {
  if (s.n === undefined) return `${s.transport ?? ''} ${s.port ?? ''}`.trim();
  const row = r.rows.find(({n}) => n === s.n);
  return row?.url ?? t(s.n === r.rows.length ? 'test.relay' : 'test.path');
}

/** @param {Result} r */
function traceLines(r) {
  if (!r.seen?.length) return [];
  return [`${t('check.seen')}:`, '', '```', ...r.seen.map((s) =>
    `${String(s.at).padStart(6)} ms  ${t(`see.${s.see}`)}  ${sightingSubject(s, r)}  ${sightingDetail(s)}`.trimEnd()), '```'];
}

/** @param {Result} r */
function rowLines(r) {
  return ['| URL | | ms | |', '|---|---|---|---|', ...r.rows.map((row) => {
    const errors = [...new Set(row.errors.map(({code, text}) => `${code} ${text}`.trim()))].join('; ');
    const reason = has(`reason.${row.reason}`) ? t(`reason.${row.reason}`, remedyOf(row, r)) : '';
    const saw = row.state === 'pass' ? '' : viewWords(row.view, remedyOf(row, r));
    const why = [row.state === 'pass' ? '' : reason, errors && `(${errors})`, saw && `${t('check.server')}: ${saw}`].filter(Boolean).join(' ');
    return `| ${row.url} | ${row.state} ${row.reason} | ${row.ms ?? ''} | ${why.replaceAll('|', '\\|')} |`;
  })];
}

/** @param {Result} r */
function testLines({relay, path}) {
  const line = (/** @type {string} */ name, /** @type {Measure} */ m) => {
    const parts = [`${m.state}${m.reason ? ` (${m.reason} ${m.detail})` : ''}`];
    if (m.connectMs !== null) parts.push(`connected in ${m.connectMs} ms`);
    if (m.rtts.length) {
      parts.push(`RTT ${[0, 0.5, 0.95].map((q) => percentile(m.rtts, q)).join(' / ')} ms (min / median / p95)`);
      parts.push(`loss ${m.lost} of ${m.sent}`);
    }
    const saw = viewWords(m.view, {range: '', ufw: ''});
    if (m.state === 'fail' && saw) parts.push(`${t('check.server')}: ${saw}`);
    if (m.mbps !== null) parts.push(`${m.mbps} Mbit/s`);
    return `- ${name}: ${parts.join(', ')}`;
  };
  return [line(t('test.relay'), relay), line(t('test.path'), path)];
}

/** @param {Result} r */
function candidateLines({rows}) {
  const all = rows.flatMap((row) => row.candidates.map((c) =>
    `${row.url}  ${c.type} ${c.protocol} ${c.relayProtocol ?? '-'} ${c.address} ${c.port}  ${c.ms} ms`));
  return all.length ? ['```', ...all, '```'] : [];
}

/** Keeps the first half of IPv4 and the first two groups of IPv6 addresses. @param {string} text */
export function mask(text) {
  return text
    .replace(/(?<![/.\d])(\d{1,3}\.\d{1,3})\.\d{1,3}\.\d{1,3}\b/g, (whole, start) =>
      (/^0\.0|^127\.0/.test(start) ? whole : `${start}.x.x`))
    .replace(/(^|[\s[(])((?:[0-9a-f]{1,4}:){2})(?:[0-9a-f]{0,4}:)*[0-9a-f:]*[0-9a-f](?=[\s\])]|$)/gim, '$1$2x')
    .replace(/\b[0-9a-f]{8}-[0-9a-f-]{27}\.local\b/gi, 'x.local');
}
