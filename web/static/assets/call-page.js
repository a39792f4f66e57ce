// @ts-check
/**
 * The call page: up to six people in a room, each connected with each.
 *
 * For tests and diagnosis: `?auto=1` joins without a click, `?relay=1` admits no
 * direct path, `?via=udp|tcp|tls` only TURN over that. `window.rtcdCall` has
 * {hub, call, links, lines, pcs, peers, info, devices, state, say(text)}; <html> has
 * `data-call` (loading lobby joining waiting connecting connected ended error),
 * `data-connection` (direct relayed), `data-via` (udp tcp tls) and `data-error` (a code).
 * @module
 */

import {Call, Hub, Links} from '../sdk/rtcd.js';
import {ChatPanel} from './chat-panel.js';
import {canShareScreen, chooseDevice, listDevices, openCamera, openDevices, openMicrophone, openScreen} from './devices.js';
import {byId, fill, h, icon} from './dom.js';
import {drawOver, expiry} from './frame.js';
import {has, onLanguage, t} from './i18n.js';
import {claims, inviteLink, isLocal, paths, problemOfToken, query, rememberedName, rememberName, room, token, whenLeft} from './session.js';
import {copy, initShell} from './shell.js';
import {Tile} from './tile.js';

const MOST = 6; // people: each sends to each

const root = document.documentElement;
const panel = new ChatPanel();
/** @type {Links|null} */
let links = null;

/** @type {import('./devices.js').Devices} */
const devices = {audio: null, video: null, note: ''};
const on = {mic: false, camera: false, screen: false};
/** @type {MediaStreamTrack|null} */
let screenTrack = null;
/** @type {Hub|null} */
let hub = null;
/** @type {Call|null} */
let call = null;
/** @type {Map<string, Tile>} */
const tiles = new Map();
/** @type {{code: string, detail: string}|null} */
let over = null;
let notice = '';
/** @type {ReturnType<typeof setTimeout>|undefined} */
let noticeTimer;
/** @type {ReturnType<typeof setTimeout>|undefined} */
let retry;

/** @typedef {'loading'|'lobby'|'joining'|'waiting'|'connecting'|'connected'|'ended'|'error'} State */
/** @type {State} */
let state = 'loading';

/** @type {any} */ (window).rtcdCall = {
  get hub() { return hub; },
  get call() { return call; },
  get peers() { return [...(call?.peers.values() ?? [])]; },
  get pcs() { return [...(call?.peers.values() ?? [])].map((peer) => peer.pc); },
  get info() { return [...tiles.values()].map((tile) => tile.info); },
  get links() { return [...(links?.all.values() ?? [])]; },
  get lines() { return panel.lines.map(({kind, name, text, proof}) => ({kind, name, text, proof})); },
  get devices() { return devices; },
  get state() { return state; },
  say(/** @type {string} */ text) {
    panel.field.value = text;
    return panel.say();
  },
};

await initShell();
onLanguage(draw);
wireControls();
await begin();

/** What can be said before anything is asked of the person. */
async function begin() {
  const problem = await problemBeforeJoining();
  if (problem) {
    end('error', problem);
    return;
  }
  setState('lobby');
  byId('name').value = rememberedName();
  byId('name-label').hidden = Boolean(claims?.name);
  await openAll();
  if (query.get('auto') === '1') await join();
}

/** @returns {Promise<string>} an error code, "" if all is well */
async function problemBeforeJoining() {
  if (typeof RTCPeerConnection === 'undefined') return 'no-webrtc';
  return await problemOfToken() || (room ? '' : 'no-room-named');
}

async function openAll() {
  Object.assign(devices, await openDevices());
  on.mic = devices.audio !== null;
  on.camera = devices.video !== null;
  draw();
}

// ---- joining and leaving

/** @param {boolean} [quietly]  a repeated attempt, which leaves the last message in place */
async function join(quietly = false) {
  clearTimeout(retry);
  if (!quietly) {
    over = null;
    setState('joining');
  }
  const name = byId('name').value.trim();
  rememberName(name);
  const session = new Hub({token: token || undefined, room, name: name || undefined, data: presence()});
  hub = session;
  session.on('state', onHubState);
  session.on('peer', onMember);
  session.on('joined', draw);
  try {
    await session.open();
  } catch { /* onHubState has shown why */
    return;
  }
  const others = [...session.rooms.get(room)?.values() ?? []].filter((member) => !member.role);
  if (others.length >= MOST) {
    end('error', 'room-full');
    return;
  }
  call = new Call(session, room, {
    role: '', // members of the other applications have one
    tracks: [devices.audio, sentVideo()].filter((track) => track !== null),
    ...paths(),
  });
  call.on('peer', addTile);
  call.on('gone', removeTile);
  links = new Links(session, room, {call, role: ''});
  panel.bind(links);
  links.on('message', () => draw());
  over = null;
  root.dataset.error = '';
  setState('waiting');
  call.peers.forEach(addTile);
  settle();
}

/** @param {any} change */
function onHubState({state: now, error, attempt}) {
  if (now === 'closed') {
    if (hub) end('error', error.code, error.message);
    return;
  }
  if (now === 'reconnecting') say('notice.hub-lost');
  else if (now === 'connecting' && attempt) say('notice.connecting');
  else if (now === 'open') say('');
}

/** @param {any} m */
function onMember(m) {
  if (m.event === 'leave' && m.peer === hub?.peer) {
    end('error', 'put-out');
    return;
  }
  if (m.event === 'leave' && !m.role) say('notice.left', 4000);
  draw();
}

/** @param {State} kind @param {string} code @param {string} [detail] */
function end(kind, code, detail = '') {
  over = {code, detail: has(`over.${code}`) ? '' : detail};
  root.dataset.error = kind === 'error' ? code : '';
  notice = '';
  setState(kind);
  const session = hub;
  links?.close();
  call?.close();
  links = call = hub = null; // so that what the session says at its end is not heard
  session?.close();
  tiles.forEach((tile) => tile.element.remove());
  tiles.clear();
  if (code === 'room-full') retry = setTimeout(() => join(true), 5000);
  if (kind === 'ended') stopDevices();
  draw();
}

function stopDevices() {
  for (const track of [devices.audio, devices.video, screenTrack]) track?.stop();
  Object.assign(devices, {audio: null, video: null});
  Object.assign(on, {mic: false, camera: false, screen: false});
  screenTrack = null;
}

async function again() {
  if (!devices.audio && !devices.video && devices.note === '') await openAll();
  await join();
}

// ---- the others

/** @param {import('../sdk/call.js').Peer} peer */
function addTile(peer) {
  const tile = new Tile(peer);
  tiles.set(peer.id, tile);
  byId('tiles').append(tile.element);
  peer.on('state', settle);
  peer.on('problem', (e) => console.warn('rtcd:', e));
  settle();
}

/** @param {import('../sdk/call.js').Peer} peer */
function removeTile(peer) {
  tiles.get(peer.id)?.element.remove();
  tiles.delete(peer.id);
  settle();
}

/** The state of the page follows from the connections. */
function settle() {
  if (!call || state === 'ended' || state === 'error') return;
  const states = call.peers.size ? [...call.peers.values()].map(({pc}) => pc.connectionState) : [];
  const before = state;
  setState(!states.length ? 'waiting' : states.includes('connected') ? 'connected' : 'connecting');
  if (state === 'connected' && before !== 'connected') say('notice.connected', 3000);
  if (states.length && states.every((s) => s === 'failed')) say('notice.no-path');
  else if (notice === 'notice.no-path') say('');
}

setInterval(async () => {
  await Promise.all([...tiles.values()].map((tile) => tile.measure()));
  const first = [...tiles.values()].find(({info}) => info && info.state !== 'none');
  root.dataset.connection = first?.info?.state ?? '';
  root.dataset.via = first?.info?.via ?? '';
  if ([...tiles.values()].some((tile) => tile.silenced)) say('notice.click-for-sound');
}, 1000);

// ---- what we send

function presence() {
  return {...on};
}

function sentVideo() {
  return on.screen ? screenTrack : on.camera ? devices.video : null;
}

async function changed() {
  draw();
  await call?.setTrack('video', sentVideo());
  await hub?.update(presence()).catch(() => {});
}

async function toggleMic() {
  if (!devices.audio) return;
  on.mic = !on.mic;
  devices.audio.enabled = on.mic;
  await changed();
}

async function toggleCamera() {
  if (on.camera) {
    devices.video?.stop(); // so that the camera's light goes out
    devices.video = null;
    on.camera = false;
  } else {
    devices.video = await openCamera();
    on.camera = devices.video !== null;
    if (!on.camera) say('device.none', 4000);
  }
  await changed();
}

async function toggleScreen() {
  if (on.screen) {
    screenTrack?.stop();
    on.screen = false;
  } else {
    screenTrack = await openScreen();
    on.screen = screenTrack !== null;
    screenTrack?.addEventListener('ended', () => {
      on.screen = false;
      changed();
    });
  }
  await changed();
}

/** Takes another camera or microphone into use. @param {'audioinput'|'videoinput'} kind @param {string} id */
async function changeDevice(kind, id) {
  chooseDevice(kind, id);
  if (kind === 'videoinput' && on.camera) {
    devices.video?.stop(); // some systems lend a camera once only
    devices.video = await openCamera();
    on.camera = devices.video !== null;
  } else if (kind === 'audioinput') {
    devices.audio?.stop();
    devices.audio = await openMicrophone();
    if (devices.audio) devices.audio.enabled = on.mic;
    else on.mic = false;
    await call?.setTrack('audio', devices.audio);
  }
  await changed();
  await drawDevices();
}

async function openSettings() {
  await drawDevices();
  byId('settings').showModal();
}

async function drawDevices() {
  for (const kind of /** @type {const} */ (['audioinput', 'videoinput'])) {
    const list = await listDevices(kind);
    const current = (kind === 'audioinput' ? devices.audio : devices.video)?.getSettings().deviceId;
    fill(byId(kind), list.map((device, i) => h('option', {value: device.deviceId, selected: device.deviceId === current},
      device.label || `${t(`call.${kind}`)} ${i + 1}`)), list.length ? null : h('option', {value: ''}, '–'));
    byId(kind).disabled = list.length === 0;
  }
}

/** @param {boolean} [open] */
function toggleChat(open = byId('chat').hidden) {
  byId('chat').hidden = !open;
  byId('stage').classList.toggle('with-chat', open);
  if (open) byId('text').focus();
  else byId('talk').focus();
  draw();
}

function wireControls() {
  byId('entry').addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault();
    join();
  });
  byId('mic').addEventListener('click', toggleMic);
  byId('camera').addEventListener('click', toggleCamera);
  byId('screen').addEventListener('click', toggleScreen);
  byId('invite').addEventListener('click', (/** @type {Event} */ e) =>
    copy(/** @type {HTMLElement} */ (e.currentTarget), inviteLink('/apps/call')));
  byId('talk').addEventListener('click', () => toggleChat());
  byId('close-chat').addEventListener('click', () => toggleChat(false));
  for (const id of ['choose', 'devices']) byId(id).addEventListener('click', openSettings);
  for (const kind of /** @type {const} */ (['audioinput', 'videoinput'])) {
    byId(kind).addEventListener('change', (/** @type {any} */ e) => changeDevice(kind, e.target.value));
  }
  navigator.mediaDevices?.addEventListener?.('devicechange', drawDevices);
  byId('hangup').addEventListener('click', () => end('ended', 'left'));
  byId('again').addEventListener('click', again);
  addEventListener('pointerdown', () => tiles.forEach((tile) => {
    if (tile.silenced) say('');
    tile.unmute();
  }));
  addEventListener('keydown', onKey);
  whenLeft(() => hub?.close());
  addEventListener('pageshow', (e) => e.persisted && location.reload());
  addEventListener('hashchange', () => location.reload());
}

/** @param {KeyboardEvent} e */
function onKey(e) {
  const {target} = e;
  if (e.ctrlKey || e.metaKey || e.altKey || byId('stage').hidden) return;
  if (target instanceof Element && target.closest('input, textarea, select, dialog')) return;
  /** @type {Record<string, () => void>} */
  const keys = {m: toggleMic, c: toggleCamera, s: toggleScreen, t: () => toggleChat()};
  const act = keys[e.key.toLowerCase()];
  if (!act) return;
  e.preventDefault();
  act();
}

// ---- drawing

/** @param {State} now */
function setState(now) {
  state = now;
  root.dataset.call = now;
  draw();
}

/** @param {string} key @param {number} [ms]  how long; until the next without it */
function say(key, ms = 0) {
  clearTimeout(noticeTimer);
  if (notice !== key) {
    notice = key;
    byId('notice').textContent = key ? t(key) : '';
  }
  if (ms) noticeTimer = setTimeout(() => say(''), ms);
}

function draw() {
  byId('lobby').hidden = state !== 'lobby';
  byId('stage').hidden = over !== null || !['joining', 'waiting', 'connecting', 'connected'].includes(state);
  byId('over').hidden = over === null;
  byId('notice').textContent = notice ? t(notice) : '';
  document.title = room ? `${room} · rtcd` : t('call.title');
  drawLobby();
  drawStage();
  drawOver(over, room);
}

function drawLobby() {
  byId('room').textContent = room;
  show(byId('preview'), devices.video);
  byId('device-note').textContent = devices.note ? t(`device.${devices.note}`) : '';
  byId('expiry').textContent = expiry();
  byId('choose').hidden = !devices.audio && !devices.video;
}

function drawStage() {
  const members = hub?.rooms.get(room);
  for (const [id, tile] of tiles) tile.draw(members?.get(id) ?? tile.member);
  byId('waiting').hidden = state !== 'joining' && state !== 'waiting';
  byId('waiting-title').textContent = t(state === 'joining' ? 'call.joining' : 'call.waiting');
  byId('waiting-note').textContent = t(isLocal ? 'call.waiting-local' : 'call.waiting-note');
  show(byId('self-video'), sentVideo());
  byId('self').classList.toggle('shares', on.screen);
  byId('self').classList.toggle('dark', sentVideo() === null);
  byId('self').hidden = !devices.audio && !devices.video && !on.screen;
  control('mic', on.mic, on.mic ? 'mic' : 'mic-off', on.mic ? 'call.mic-off' : 'call.mic-on');
  control('camera', on.camera, on.camera ? 'camera' : 'camera-off', on.camera ? 'call.camera-off' : 'call.camera-on');
  control('screen', null, 'screen', on.screen ? 'call.screen-off' : 'call.screen-on');
  byId('screen').classList.toggle('on', on.screen);
  byId('mic').disabled = devices.audio === null;
  byId('camera').disabled = !navigator.mediaDevices;
  byId('screen').hidden = !canShareScreen();
  control('devices', null, 'settings', 'call.devices');
  drawChat();
}

/** @param {string} id @param {boolean|null} pressed @param {string} picture @param {string} key */
function control(id, pressed, picture, key) {
  const button = byId(id);
  fill(button, icon(picture));
  button.setAttribute('aria-label', t(key));
  button.title = t(key);
  if (pressed !== null) button.setAttribute('aria-pressed', String(pressed));
}

/** The conversation's button says how much of it is unread. */
function drawChat() {
  const open = !byId('chat').hidden;
  if (open) panel.unread = 0;
  control('talk', null, 'chat', open ? 'call.chat-off' : 'call.chat-on');
  byId('talk').setAttribute('aria-expanded', String(open));
  byId('talk').classList.toggle('on', open);
  if (panel.unread) byId('talk').append(h('span', {class: 'unread'}, panel.unread));
  panel.draw();
}

/** @param {HTMLVideoElement} video @param {MediaStreamTrack|null} track */
function show(video, track) {
  const current = video.srcObject instanceof MediaStream ? video.srcObject.getVideoTracks()[0] ?? null : null;
  if (current !== track) video.srcObject = track ? new MediaStream([track]) : null;
}
