// @ts-check
/** What every page has: its language, its theme, and links that keep the token. @module */

import {byId, loadIcons} from './dom.js';
import {chooseLanguage, initLanguage, language, onLanguage, t} from './i18n.js';

/**
 * What the address carries after the #, which browsers never send.
 * @returns {{token: string, room: string}}
 */
export function readFragment() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  return {token: fragment.get('token') ?? '', room: fragment.get('room') ?? ''};
}

/** Readies the page; resolves when its words are there. */
export async function initShell() {
  keepFragment();
  addEventListener('hashchange', keepFragment);
  initTheme();
  byId('language').addEventListener('click', () => chooseLanguage(language() === 'en' ? 'zh' : 'en'));
  onLanguage(() => showTheme());
  await Promise.all([initLanguage(), loadIcons()]);
}

/** Links to our own pages go there with the same token. */
export function keepFragment() {
  /** @type {NodeListOf<HTMLAnchorElement>} */
  const links = document.querySelectorAll('a[href^="/"]');
  for (const link of links) {
    link.setAttribute('href', link.pathname + link.search + location.hash);
  }
}

function isDark() {
  const {theme} = document.documentElement.dataset;
  return theme ? theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

function initTheme() {
  byId('theme').addEventListener('click', () => {
    const theme = isDark() ? 'light' : 'dark';
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem('rtcd.theme', theme);
    } catch { /* a browser without storage forgets the choice */ }
    showTheme();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', showTheme);
}

function showTheme() {
  const label = t(isDark() ? 'shell.light' : 'shell.dark');
  byId('theme').setAttribute('aria-label', label);
  byId('theme').title = label;
}

/**
 * Copies text and says so on the button for a moment.
 * @param {HTMLElement} button
 * @param {string} text
 */
export async function copy(button, text) {
  const label = button.querySelector('[data-t]') ?? button;
  const before = label.textContent;
  const done = await navigator.clipboard?.writeText(text).then(() => true, () => false) ??
    copyTheOldWay(text);
  label.textContent = t(done ? 'shell.copied' : 'shell.not-copied');
  setTimeout(() => { label.textContent = before; }, 2000);
}

/** Pages without TLS have no clipboard interface. @param {string} text */
function copyTheOldWay(text) {
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'hidden-visually';
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  return done;
}
