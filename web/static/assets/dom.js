// @ts-check
/** Elements from functions; strings become text, never HTML. @module */

/** @typedef {Node|string|number|null|undefined|false} Child */

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [props]  `class`, `on…` handlers, everything else an attribute; false and null are left out
 * @param {...(Child|Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  set(element, props);
  element.append(...nodes(children));
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';

/**
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...(Child|Child[])} children
 */
export function svg(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, props);
  element.append(...nodes(children));
  return element;
}

/** Where the pictures are: the file, until {@link loadIcons} has put them into the page. */
let icons = '/assets/icons.svg#';

/**
 * Puts the pictures into the page, so that those made by scripts are drawn at once: a
 * browser loads the file anew for each page element that asks for it by address.
 */
export async function loadIcons() {
  /** @type {Document|null} */
  const file = await new Promise((resolve) => {
    const request = new XMLHttpRequest(); // fetch has text only, and from text no markup is made here
    request.open('GET', '/assets/icons.svg');
    request.responseType = 'document';
    request.overrideMimeType('image/svg+xml');
    request.onload = () => resolve(request.status === 200 ? request.responseXML : null);
    request.onerror = () => resolve(null);
    request.send();
  });
  if (!file) return;
  const sprite = document.importNode(file.documentElement, true);
  for (const symbol of sprite.querySelectorAll('symbol')) symbol.id = `icon-${symbol.id}`;
  sprite.setAttribute('class', 'sprite');
  sprite.setAttribute('aria-hidden', 'true');
  document.body.append(sprite);
  icons = '#icon-';
}

/** One picture of /assets/icons.svg. @param {string} name @param {string} [className] */
export function icon(name, className = 'icon') {
  return svg('svg', {class: className, 'aria-hidden': 'true', focusable: 'false'},
    svg('use', {href: icons + name}));
}

/** @param {Element} element @param {Record<string, any>} props */
function set(element, props) {
  for (const [key, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? '' : String(value));
  }
}

/** @param {any[]} children @returns {(Node|string)[]} */
function nodes(children) {
  return children.flat(3).filter((c) => c !== null && c !== undefined && c !== false)
    .map((c) => (c instanceof Node ? c : String(c)));
}

/** @param {Element} parent @param {...(Child|Child[])} children */
export function fill(parent, ...children) {
  parent.replaceChildren(...nodes(children));
}

/**
 * The element with this id; that it is there is the page's promise.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element #${id}`);
  return element;
}
