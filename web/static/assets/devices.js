// @ts-check
/** Camera, microphone and screen of this device. @module */

/**
 * What could be had, and in one word why not all of it.
 * @typedef {Object} Devices
 * @property {MediaStreamTrack|null} audio
 * @property {MediaStreamTrack|null} video
 * @property {''|'insecure'|'denied'|'busy'|'none'|'no-camera'|'no-microphone'} note
 */

/** The devices that the person chose, by kind; without a choice, or without the device, the browser's own. */
const chosen = {audioinput: stored('audioinput'), videoinput: stored('videoinput')};

const audio = () => ({echoCancellation: true, noiseSuppression: true, ...wish(chosen.audioinput)});
const video = () => ({width: {ideal: 1280}, height: {ideal: 720},
  ...(chosen.videoinput ? wish(chosen.videoinput) : {facingMode: 'user'})});

/** @param {string} id */
function wish(id) {
  return id ? {deviceId: {exact: id}} : {};
}

/** @param {string} kind */
function stored(kind) {
  try {
    return localStorage.getItem(`rtcd.${kind}`) ?? '';
  } catch { // a browser without storage forgets the choice
    return '';
  }
}

/** @param {'audioinput'|'videoinput'} kind @param {string} id */
export function chooseDevice(kind, id) {
  chosen[kind] = id;
  try {
    localStorage.setItem(`rtcd.${kind}`, id);
  } catch { /* a browser without storage forgets the choice */ }
}

/** What there is to choose from. @param {'audioinput'|'videoinput'} kind @returns {Promise<MediaDeviceInfo[]>} */
export async function listDevices(kind) {
  const all = await navigator.mediaDevices?.enumerateDevices().catch(() => []) ?? [];
  return all.filter((device) => device.kind === kind && device.deviceId);
}

/** Camera and microphone, or the one that is there, or none. @returns {Promise<Devices>} */
export async function openDevices() {
  if (!navigator.mediaDevices) return {audio: null, video: null, note: 'insecure'};
  const both = await attempt({audio: audio(), video: video()});
  if (both.stream) return {...tracksOf(both.stream), note: ''};
  const sound = await attempt({audio: audio()});
  const picture = sound.stream ? null : await attempt({video: video()});
  const stream = sound.stream ?? picture?.stream;
  if (!stream) return {audio: null, video: null, note: noteOf(both.error)};
  return {...tracksOf(stream), note: sound.stream ? 'no-camera' : 'no-microphone'};
}

/** @returns {Promise<MediaStreamTrack|null>} */
export async function openCamera() {
  const {stream} = await attempt({video: video()});
  return stream?.getVideoTracks()[0] ?? null;
}

/** @returns {Promise<MediaStreamTrack|null>} */
export async function openMicrophone() {
  const {stream} = await attempt({audio: audio()});
  return stream?.getAudioTracks()[0] ?? null;
}

/** @returns {Promise<MediaStreamTrack|null>}  null if the person thought better of it */
export async function openScreen() {
  const stream = await navigator.mediaDevices.getDisplayMedia({video: true}).catch(() => null);
  return stream?.getVideoTracks()[0] ?? null;
}

export function canShareScreen() {
  return Boolean(navigator.mediaDevices?.getDisplayMedia);
}

/**
 * @param {{audio?: MediaTrackConstraints, video?: MediaTrackConstraints}} constraints
 * @returns {Promise<{stream: MediaStream|null, error: string}>}
 */
async function attempt({audio: sound, video: picture}) {
  try {
    return {stream: await navigator.mediaDevices.getUserMedia({audio: sound, video: picture}), error: ''};
  } catch (e) {
    const error = e instanceof Error || e instanceof DOMException ? e.name : '';
    const picky = Boolean(sound?.deviceId || picture?.deviceId);
    if (!picky || error !== 'OverconstrainedError') return {stream: null, error};
    return attempt({audio: anyOf(sound), video: anyOf(picture)}); // the chosen device is not plugged in
  }
}

/** @param {MediaTrackConstraints} [constraints] */
function anyOf(constraints) {
  if (!constraints) return undefined;
  const {deviceId, ...rest} = constraints;
  return rest;
}

/** @param {MediaStream} stream */
function tracksOf(stream) {
  return {audio: stream.getAudioTracks()[0] ?? null, video: stream.getVideoTracks()[0] ?? null};
}

/** @param {string} error @returns {Devices['note']} */
function noteOf(error) {
  if (error === 'NotAllowedError' || error === 'SecurityError') return 'denied';
  return error === 'NotReadableError' || error === 'AbortError' ? 'busy' : 'none';
}
