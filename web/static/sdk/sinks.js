// @ts-check
/** Where a received file goes, piece by piece. @module */

/**
 * Takes a file in order. `close` yields the file where it is not on the person's disk already.
 * @typedef {Object} Sink
 * @property {(bytes: Uint8Array) => Promise<void>} write
 * @property {() => Promise<Blob|null>} close
 * @property {() => Promise<void>} abort  throws away what was written
 */

const FOLDER = 'rtcd-received';
const FORGOTTEN_AFTER = 24 * 3600 * 1000; // ms
const COALESCE = 16 << 20; // bytes; the browser may put a Blob, not an array, on its disk

/** Whether the person can be asked for a place, which needs a click and a secure page. */
export function canPick() {
  return 'showSaveFilePicker' in globalThis;
}

/**
 * Asks the person for a place; rejects with AbortError when they think better of it.
 * @param {string} name
 * @returns {Promise<Sink>}
 */
export async function pickedSink(name) {
  const handle = await /** @type {any} */ (globalThis).showSaveFilePicker({suggestedName: name});
  const file = await handle.createWritable();
  return {
    write: (bytes) => file.write(bytes),
    close: async () => {
      await file.close();
      return null;
    },
    abort: () => file.abort(),
  };
}

/**
 * The best place that needs no question: the browser's own disk if it has one for pages and
 * enough room there, else memory.
 * @param {number} size  bytes
 * @returns {Promise<Sink>}
 */
export async function ownSink(size) {
  try {
    const {quota = 0, usage = 0} = await navigator.storage.estimate();
    if (quota - usage > size) return await diskSink();
  } catch { /* a browser, or a page without TLS, that has none */ }
  return memorySink();
}

/** @returns {Promise<Sink>} */
export async function diskSink() {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle(FOLDER, {create: true});
  await forget(folder);
  const name = `${Date.now()}-${crypto.getRandomValues(new Uint32Array(2)).join('-')}`;
  const handle = await folder.getFileHandle(name, {create: true});
  const file = await handle.createWritable();
  return {
    write: (bytes) => file.write(/** @type {any} */ (bytes)),
    close: async () => {
      await file.close();
      return handle.getFile();
    },
    abort: async () => {
      await file.abort();
      await folder.removeEntry(name);
    },
  };
}

/** Removes what earlier pages left. @param {any} folder */
async function forget(folder) {
  for await (const name of folder.keys()) {
    if (parseInt(name, 10) < Date.now() - FORGOTTEN_AFTER) await folder.removeEntry(name).catch(() => {});
  }
}

/** @returns {Sink} */
export function memorySink() {
  /** @type {any[]} */
  let small = [];
  /** @type {Blob[]} */
  let large = [];
  let bytes = 0;
  const merge = () => {
    large.push(new Blob(small));
    small = [];
    bytes = 0;
  };
  return {
    write: async (piece) => {
      small.push(piece);
      bytes += piece.length;
      if (bytes >= COALESCE) merge();
    },
    close: async () => {
      merge();
      return new Blob(large);
    },
    abort: async () => {
      small = [];
      large = [];
    },
  };
}
