// @ts-check
/**
 * The words of the pages. Dictionaries are /i18n/LANG.json, flat, with equal keys;
 * `{name}` is a place for a value, `backticks` become code.
 *
 * In HTML: `data-t="key"` for the text, `data-t-label`, `data-t-title` and
 * `data-t-placeholder` for attributes. The HTML itself is in English.
 * @module
 */

import {h} from './dom.js';

/** Language codes, and the tag each puts on <html>. */
const LANGUAGES = {en: 'en', zh: 'zh-Hans'};

/** @type {Record<string, string>} */
let words = {};
let current = 'en';
/** @type {Set<() => void>} */
const listeners = new Set();

/** @returns {'en'|'zh'} */
export function language() {
  return /** @type {any} */ (current);
}

/** Loads what the address, an earlier choice or the browser asks for. */
export async function initLanguage() {
  await useLanguage(document.documentElement.lang.startsWith('zh') ? 'zh' : 'en');
}

/** @param {string} code */
export async function chooseLanguage(code) {
  try {
    localStorage.setItem('rtcd.lang', code);
  } catch { /* a browser without storage forgets the choice */ }
  await useLanguage(code);
}

/** @param {string} code */
async function useLanguage(code) {
  try {
    const answer = await fetch(`/i18n/${code}.json`);
    words = await answer.json();
    current = code;
    document.documentElement.lang = LANGUAGES[/** @type {'en'|'zh'} */ (code)];
    translate(document);
  } finally {
    delete document.documentElement.dataset.pending;
  }
  listeners.forEach((listener) => listener());
}

/** Called after each change of language. @param {() => void} listener */
export function onLanguage(listener) {
  listeners.add(listener);
}

/**
 * @param {string} key
 * @param {Record<string, string|number>} [values]
 */
export function t(key, values = {}) {
  const text = words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** @param {string} key */
export function has(key) {
  return key in words;
}

/**
 * The same with `code` as elements, for append and fill.
 * @param {string} key
 * @param {Record<string, string|number>} [values]
 * @returns {Node[]}
 */
export function rich(key, values = {}) {
  return code(t(key, values));
}

/** Text with `code` as elements. @param {string} text @returns {Node[]} */
export function code(text) {
  return text.split('`').map((part, i) =>
    i % 2 ? h('code', {}, part) : document.createTextNode(part));
}

/** A number as the language writes it. @param {number} n @param {number} [digits] */
export function number(n, digits = 0) {
  return new Intl.NumberFormat(LANGUAGES[language()],
    {maximumFractionDigits: digits, minimumFractionDigits: 0}).format(n);
}

const ATTRIBUTES = {tLabel: 'aria-label', tTitle: 'title', tPlaceholder: 'placeholder'};

/** @param {ParentNode} root */
export function translate(root) {
  /** @type {NodeListOf<HTMLElement>} */
  const all = root.querySelectorAll('[data-t], [data-t-label], [data-t-title], [data-t-placeholder]');
  for (const element of all) {
    const {t: key} = element.dataset;
    if (key) element.replaceChildren(...rich(key));
    for (const [name, attribute] of Object.entries(ATTRIBUTES)) {
      const value = element.dataset[name];
      if (value) element.setAttribute(attribute, t(value));
    }
  }
}
