// JSON over a plain WebSocket: the tutorials' protocol.
import { test, before, after } from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { serve } from './lib.mjs'
import { Plain, WebSocket, hello } from './plain.mjs'

let server
before(async () => { server = await serve() })
after(() => server.stop())

const yes = { type: 'login', success: true }
const taken = { type: 'login', success: false, message: '重複登入' }

async function login(name, path = '/json') {
  const p = new Plain(server, path, String(name))
  await p.want(hello)
  p.say({ type: 'login', name })
  await p.want(yes)
  return p
}

test('a call: offer, answer, candidates, leave', async () => {
  const a = await login('alice')
  const b = await login('bob', '/')
  a.say({ type: 'offer', name: 'bob', offer: { type: 'offer', sdp: 'v=0\r\n<ü>' } })
  await b.want({ type: 'offer', offer: { type: 'offer', sdp: 'v=0\r\n<ü>' }, name: 'alice' })
  b.say({ type: 'answer', name: 'alice', answer: { sdp: 'v=0' } })
  await a.want({ type: 'answer', answer: { sdp: 'v=0' }, name: 'bob' })
  for (const candidate of [{ candidate: 'candidate:1' }, null, '']) {
    a.say({ type: 'candidate', name: 'bob', candidate })
    await b.want({ type: 'candidate', candidate, name: 'alice' })
  }
  a.say({ type: 'leave', name: 'bob' })
  await b.want({ type: 'leave' })
  a.say({ type: 'offer', name: 'bob', offer: 2 }) // bob is still logged in
  await b.want({ type: 'offer', offer: 2, name: 'alice' })
  a.say({ type: 'leave', name: 'bob' })
  await b.want({ type: 'leave' })
  await a.close()
  await b.wantSilence('there is no second leave')
  await b.close()
})

test('closing a socket frees the name and tells the partner', async () => {
  const a = await login('alice')
  const b = await login('bob')
  a.say({ type: 'offer', name: 'bob', offer: 1 })
  await b.want({ type: 'offer', offer: 1, name: 'alice' })
  await b.close() // without an answer
  await a.want({ type: 'leave' })
  const next = await login('bob')
  await a.wantSilence('bob is another one now')
  await a.close()
  await next.close()
})

test('names: taken, freed by a second login, missing, odd', async () => {
  const a = await login('alice')
  const b = new Plain(server, '/json', 'b')
  await b.want(hello)
  b.say({ type: 'login', name: 'alice' })
  await b.want(taken)
  for (const name of [undefined, null, 7, '', {}, 'x\u0000', 'x'.repeat(200)]) {
    b.say({ type: 'login', name })
    await b.want({ type: 'login', success: false, message: 'login needs a name' })
  }
  b.say({ type: 'offer', name: 'alice', offer: 1 })
  await b.want({ type: 'error', message: 'Not logged in' })
  a.say({ type: 'login', name: 'toString' })
  await a.want(yes)
  b.say({ type: 'login', name: 'alice' })
  await b.want(yes)
  a.say({ type: 'login', name: 'alice' })
  await a.want(taken)
  b.say({ type: 'login', name: '__proto__' })
  await b.want(yes)
  b.say({ type: 'offer', name: 'toString', offer: 1 })
  await a.want({ type: 'offer', offer: 1, name: '__proto__' })
  b.say({ type: 'offer', name: 'constructor', offer: 1 })
  await b.want({ type: 'error', message: 'User not found: constructor' })
  await a.close()
  await b.close()
})

test('what is no command is answered, and the socket lives', async () => {
  const a = await login('alice')
  a.say({ type: 'dance' })
  await a.want({ type: 'error', message: 'Command not found: dance' })
  for (const broken of ['', '{', 'null', '[]', '7', '{}', '{"type":null}', '{"type":7}', '"x"', '\u0000']) {
    a.say(broken)
    await a.want({ type: 'error', message: 'Command not found: undefined' })
  }
  a.say({ type: 'offer', name: 'bob' })
  await a.want({ type: 'error', message: 'Incomplete: offer' })
  await a.close()
})

test('paths are tenants', async () => {
  const red = await login('alice', '/json/red')
  const blue = await login('alice', '/json/blue')
  const bob = await login('bob', '/json/blue/')
  bob.say({ type: 'offer', name: 'alice', offer: 1 })
  await blue.want({ type: 'offer', offer: 1, name: 'bob' })
  await red.wantSilence('another tenant')
  for (const p of [red, blue, bob]) await p.close()
})

test('tokens', async () => {
  const closed = await serve('-token')
  try {
    const ws = new WebSocket(closed.url.replace('http', 'ws') + '/json?token=wrong')
    const [e] = await once(ws, 'error')
    assert.match(e.message, /401/)
    const good = new WebSocket(closed.url.replace('http', 'ws') + '/json?token=red')
    const [data] = await once(good, 'message')
    assert.deepEqual(JSON.parse(data), hello)
    good.close()
  } finally {
    await closed.stop()
  }
})
