// @ts-check
/** Camera, microphone and screen of this device. @module */

/**
 * What could be had, and in one word why not all of it.
 * @typedef {Object} Devices
 * @property {MediaStreamTrack|null} audio
 * @property {MediaStreamTrack|null} video
 * @property {''|'insecure'|'denied'|'busy'|'none'|'no-camera'|'no-microphone'} note
 */

const AUDIO = {echoCancellation: true, noiseSuppression: true};
const VIDEO = {width: {ideal: 1280}, height: {ideal: 720}, facingMode: 'user'};

/** Camera and microphone, or the one that is there, or none. @returns {Promise<Devices>} */
export async function openDevices() {
  if (!navigator.mediaDevices) return {audio: null, video: null, note: 'insecure'};
  const both = await attempt({audio: AUDIO, video: VIDEO});
  if (both.stream) return {...tracksOf(both.stream), note: ''};
  const audio = await attempt({audio: AUDIO});
  const video = audio.stream ? null : await attempt({video: VIDEO});
  const stream = audio.stream ?? video?.stream;
  if (!stream) return {audio: null, video: null, note: noteOf(both.error)};
  return {...tracksOf(stream), note: audio.stream ? 'no-camera' : 'no-microphone'};
}

/** @returns {Promise<MediaStreamTrack|null>} */
export async function openCamera() {
  const {stream} = await attempt({video: VIDEO});
  return stream?.getVideoTracks()[0] ?? null;
}

/** @returns {Promise<MediaStreamTrack|null>}  null if the person thought better of it */
export async function openScreen() {
  const stream = await navigator.mediaDevices.getDisplayMedia({video: true}).catch(() => null);
  return stream?.getVideoTracks()[0] ?? null;
}

export function canShareScreen() {
  return Boolean(navigator.mediaDevices?.getDisplayMedia);
}

/** @param {MediaStreamConstraints} constraints */
async function attempt(constraints) {
  try {
    return {stream: await navigator.mediaDevices.getUserMedia(constraints), error: ''};
  } catch (e) {
    return {stream: null, error: e instanceof DOMException ? e.name : ''};
  }
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
