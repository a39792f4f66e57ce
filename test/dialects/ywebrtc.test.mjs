// y-webrtc's protocol on the paths of plain JSON, and its own client.
import { test, before, after } from 'node:test'
import assert from 'node:assert/strict'
import { serve } from './lib.mjs'
import { Plain, WebSocket, hello } from './plain.mjs'

let server
before(async () => { server = await serve() })
after(() => server.stop())

/** listen subscribes to topics. */
async function listen(path, name, ...topics) {
  const p = new Plain(server, path, name)
  await p.want(hello)
  p.say({ type: 'subscribe', topics })
  await p.wantSilence('nobody has published')
  return p
}

test('topics: subscribe, publish, unsubscribe', async () => {
  const topics = ['one', 'two', 7, '', null, 'x\u0000']
  const [a, b, c] = [await listen('/', 'a', ...topics), await listen('/json', 'b', ...topics), await listen('/json/other', 'c', ...topics)]
  a.say({ type: 'publish', topic: 'one', data: { to: null, x: '<ü>' } })
  for (const p of [a, b]) await p.want({ type: 'publish', topic: 'one', data: { to: null, x: '<ü>' }, clients: 2 })
  await c.wantSilence('another tenant')
  b.say({ type: 'unsubscribe', topics: ['one'] }).say({ type: 'publish', topic: 'one', data: 'not a subscriber' })
  await b.wantSilence('it has left')
  a.say({ type: 'publish', topic: 'one', data: 1, clients: 99 })
  await a.want({ type: 'publish', topic: 'one', data: 1, clients: 1 })
  await b.wantSilence('it has left')
  for (const p of [a, b, c]) await p.close()
})

test('what makes no sense is passed over, and the socket lives', async () => {
  const a = await listen('/json', 'a', 'one')
  for (const message of [{ type: 'subscribe' }, { type: 'subscribe', topics: 'one' }, { type: 'unsubscribe', topics: { 0: 'one' } },
    { type: 'unsubscribe', topics: ['never'] }, { type: 'publish' }, { type: 'publish', topic: 7 }, { type: 'publish', topic: '__proto__' }]) {
    a.say(message)
  }
  await a.wantSilence('nothing was said')
  a.say({ type: 'publish', topic: 'one', __proto__: null, constructor: 1 })
  await a.want({ type: 'publish', topic: 'one', constructor: 1, clients: 1 })
  await a.close()
})

test('one socket can be of both kinds', async () => {
  const a = await listen('/', 'a', 'one')
  a.say({ type: 'login', name: 'both' })
  await a.want({ type: 'login', success: true })
  a.say({ type: 'publish', topic: 'one' })
  await a.want({ type: 'publish', topic: 'one', clients: 1 })
  await a.close()
})

test('its own client subscribes, announces itself, and stays', async () => {
  globalThis.WebSocket = WebSocket
  const [{ WebrtcProvider }, Y] = await Promise.all([import('y-webrtc'), import('yjs')])
  const other = await listen('/', 'a listener', 'document')
  const doc = new Y.Doc()
  const provider = new WebrtcProvider('document', doc, { signaling: [server.url.replace('http', 'ws') + '/'] })
  const { type, topic, clients, data } = await other.next('an announcement')
  assert.deepEqual({ type, topic, clients, data: data.type }, { type: 'publish', topic: 'document', clients: 2, data: 'announce' })
  provider.destroy()
  doc.destroy() // with the clocks of its awareness
  await other.close()
})
