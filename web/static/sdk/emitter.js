// @ts-check

/** EventTarget whose events carry `detail`; `on` returns the function that undoes it. */
export class Emitter extends EventTarget {
  /**
   * @param {string} type
   * @param {(detail: any) => void} handler
   * @returns {() => void}
   */
  on(type, handler) {
    const listener = (/** @type {any} */ event) => handler(event.detail);
    this.addEventListener(type, listener);
    return () => this.removeEventListener(type, listener);
  }

  /** @param {string} type @param {any} [detail] */
  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, {detail}));
  }
}
