// PeerJS: its protocol as npm's `peer` server speaks it, and its own client with everything
// but WebRTC, for which there is a stand-in (browser_test.go has the real one).
import { test, before, after } from 'node:test'
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { serve, within } from './lib.mjs'
import { Plain, WebSocket } from './plain.mjs'

// A connection that never comes up, but offers and answers.
globalThis.WebSocket = WebSocket
globalThis.RTCSessionDescription = class { constructor(d) { Object.assign(this, d) } }
globalThis.RTCPeerConnection = class extends EventTarget {
  createDataChannel(label) { return Object.assign(new EventTarget(), { label, ordered: true, close() {} }) }
  async createOffer() { return { type: 'offer', sdp: 'v=0 offer' } }
  async createAnswer() { return { type: 'answer', sdp: 'v=0 answer' } }
  async setLocalDescription(d) {
    this.onicecandidate?.({ candidate: { candidate: 'candidate:1 of ' + d.type } })
  }

  async setRemoteDescription(d) { this.remote = d }
  async addIceCandidate(c) { (this.candidates ??= []).push(c) }
  close() {}
}
const { Peer } = createRequire(import.meta.url)('peerjs')

let server
before(async () => { server = await serve('-discovery') })
after(() => server.stop())

function options(more = {}) {
  const { hostname, port } = new URL(more.url ?? server.url)
  return { host: hostname, port, path: '/', secure: false, ...more }
}

/** event waits for the next one of a name; a peer's error fails it. */
function event(emitter, name, what) {
  return within(new Promise((resolve, reject) => {
    emitter.once(name, resolve)
    if (name !== 'error') emitter.once('error', reject)
  }), `${what}: ${name}`)
}

async function open(id, more) {
  const peer = id === undefined ? new Peer(options(more)) : new Peer(id, options(more))
  assert.equal(await event(peer, 'open', id), id ?? peer.id)
  return peer
}

const raw = (query, name) => new Plain(server, '/peerjs?' + query, name)

test('the client gets an id, and others can be found', async () => {
  const [a, b] = [await open(), await open('b-1')]
  assert.match(a.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  const peers = await within(new Promise(resolve => a.listAllPeers(resolve)), 'the list')
  assert.ok(peers.includes(a.id) && peers.includes('b-1'), `listed: ${peers}`)
  a.destroy()
  b.destroy()
})

test('an offer, an answer and the candidates arrive', async () => {
  const [a, b] = [await open('caller'), await open('callee')]
  const incoming = event(b, 'connection', 'callee')
  const connection = a.connect('callee', { metadata: { of: '<ü>' }, label: 'l' })
  const other = await incoming
  assert.deepEqual([other.peer, other.metadata, other.label], ['caller', { of: '<ü>' }, 'l'])
  for (let i = 0; i < 2000 && !(connection.peerConnection.candidates && other.peerConnection.candidates); i++) {
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  assert.deepEqual([connection.peerConnection.remote.sdp, other.peerConnection.remote.sdp], ['v=0 answer', 'v=0 offer'])
  assert.equal(connection.peerConnection.candidates[0].candidate, 'candidate:1 of answer')
  assert.equal(other.peerConnection.candidates[0].candidate, 'candidate:1 of offer')
  a.destroy()
  b.destroy()
})

test('the client hears that an id is taken, and that a peer does not come', async () => {
  const a = await open('owner')
  const thief = new Peer('owner', options())
  const taken = await event(thief, 'error', 'thief')
  assert.deepEqual([taken.type, taken.message], ['unavailable-id', 'ID "owner" is taken'])
  a.connect('nobody')
  const absent = await event(a, 'error', 'owner')
  assert.deepEqual([absent.type, absent.message], ['peer-unavailable', 'Could not connect to peer nobody'])
  a.destroy()
})

test('a client reconnects under its id, also while the server believes in the old socket', async () => {
  const a = await open('again', { token: 'secret' })
  a.disconnect()
  a.reconnect()
  await event(a, 'open', 'reconnected')
  const end = event(a, 'error', 'the old one')
  const b = await open('again', { token: 'secret' }) // another tab with the same token
  const lost = await end
  assert.deepEqual([lost.type, lost.message], ['network', 'Lost connection to server.'])
  assert.ok(b.open)
  b.destroy()
})

test('one who comes late gets what was sent before', async () => {
  const a = await open('early')
  const connection = a.connect('late')
  const late = new Peer('late', options())
  const other = await event(late, 'connection', 'late')
  assert.equal(other.connectionId, connection.connectionId)
  a.destroy()
  late.destroy()
})

test('the words of the protocol', async () => {
  const a = raw('key=peerjs&id=a&token=x&version=1.5.5', 'a')
  const opened = await a.next('OPEN')
  assert.equal(opened.type, 'OPEN')
  assert.ok(opened.payload.iceServers[1].credential, 'with the relay\'s credentials')
  const second = raw('key=peerjs&id=a&token=y', 'a again')
  await second.want({ type: 'ID-TAKEN', payload: { msg: 'ID is taken' } })
  await second.wantEnd(1000)
  const half = raw('key=peerjs&id=b', 'without a token')
  await half.want({ type: 'ERROR', payload: { msg: 'No id, token, or key supplied to websocket server' } })
  await half.wantEnd(1000)
  const b = raw('key=peerjs&id=b&token=x', 'b')
  assert.equal((await b.next('OPEN')).type, 'OPEN')
  for (const broken of ['', '{', 'null', '[]', '{"type":"OFFER"}', '{"type":"toString","dst":"b"}', '{"type":"HEARTBEAT"}']) a.say(broken)
  a.say({ type: 'OFFER', src: 'forged', dst: 'b', payload: { sdp: 1 } })
  await b.want({ type: 'OFFER', src: 'a', dst: 'b', payload: { sdp: 1 } })
  b.say({ type: 'LEAVE', dst: 'a' })
  await a.want({ type: 'LEAVE', src: 'b', dst: 'a' })
  await a.close()
  await b.close()
})

test('ids and lists over HTTP, for pages of any site', async () => {
  const get = path => fetch(server.url + path, { headers: { Origin: 'https://page.example' } })
  const id = await get('/peerjs/id?ts=1&version=1.5.5')
  assert.equal(id.headers.get('access-control-allow-origin'), 'https://page.example')
  assert.match(await id.text(), /^[0-9a-f-]{36}$/)
  assert.ok(Array.isArray(await (await get('/peerjs/peers')).json()))
  assert.equal((await get('/peerjs/other')).status, 404)
})

test('the key is the join token', async () => {
  const closed = await serve('-token')
  try {
    const wrong = new Peer('a', options({ url: closed.url, key: 'wrong' }))
    const refused = await event(wrong, 'error', 'wrong key')
    assert.deepEqual([refused.type, refused.message], ['server-error', 'Invalid key provided'])
    const [red, blue] = await Promise.all(['red', 'blue'].map(key => open('same', { url: closed.url, key })))
    const list = await fetch(closed.url + '/red/peers')
    assert.equal(list.status, 401, 'nobody is told who is there')
    red.destroy()
    blue.destroy()
  } finally {
    await closed.stop()
  }
})
