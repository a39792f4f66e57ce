// The vocabularies of Socket.IO's applications, and every point in which rtcd does
// better than their servers.
import { test, before, after } from 'node:test'
import assert from 'node:assert/strict'
import { serve, open, ways } from './lib.mjs'

let server
before(async () => { server = await serve() })
after(() => server.stop())


const gone = peer => new Promise(resolve => {
  if (!peer.socket.connected) resolve()
  peer.socket.on('disconnect', resolve)
})

for (const version of [1, 2, 4]) {
  const connect = (nsp = '', options = {}) => open(version, `${server.url}${nsp}`, options)

  /** enter brings a client into a room and checks how many it finds there. */
  async function enter(room, others) {
    const peer = await connect()
    peer.emit('room', { username: peer.name, room })
    assert.deepEqual(await peer.want('numClients'), [others])
    return peer
  }

  const offers = n => ({ offers: Array.from({ length: n }, (_, i) => ({ offerId: `o${i}`, offer: { type: 'offer', sdp: `v=0 ${i}` } })), fromPeerId: 'forged' })

  test(`p2p, client ${version}: offers, signals, departure`, async () => {
    const room = `mesh ${version}`
    const a = await enter(room, 0)
    const b = await enter(room, 1)
    const c = await enter(room, 2)
    c.emit('offers', offers(5))
    assert.deepEqual(await a.want('offer'), [{ fromPeerId: c.engine, offerId: 'o0', offer: { type: 'offer', sdp: 'v=0 0' } }])
    assert.deepEqual(await b.want('offer'), [{ fromPeerId: c.engine, offerId: 'o1', offer: { type: 'offer', sdp: 'v=0 1' } }])

    a.emit('peer-signal', { signal: { type: 'answer', sdp: 'v=0 <a>' }, offerId: 'o0', fromPeerId: 'forged', toPeerId: c.engine })
    assert.deepEqual(await c.want('peer-signal'), [{ signal: { type: 'answer', sdp: 'v=0 <a>' }, offerId: 'o0', fromPeerId: a.engine, toPeerId: c.engine }])
    a.emit('peer-signal', { signal: { candidate: null }, offerId: 'o0', toPeerId: c.engine })
    assert.deepEqual((await c.want('peer-signal'))[0].signal, { candidate: null })

    b.wantNone('peer-signal', 'it was for c')
    const id = b.engine
    b.close()
    for (const peer of [a, c]) assert.deepEqual(await peer.want('peer-disconnect'), [{ peerId: id }])
    for (const peer of [a, c]) peer.close()
  })

  test(`p2p, client ${version}: rooms are apart, and nothing is forged`, async () => {
    const a = await enter(`here ${version}`, 0)
    const b = await enter(`there ${version}`, 0)
    const c = await enter(`here ${version}`, 1)
    a.emit('offers', offers(5)).emit('peer-signal', { signal: {}, toPeerId: b.engine }).emit('msg', { text: 'here' })
    for (const forged of ['numClients', 'offer', 'peer-disconnect', 'reconnect']) a.emit(forged, { peerId: c.engine })
    a.emit('last')
    await c.want('last')
    assert.deepEqual(await c.want('msg'), [{ text: 'here' }])
    for (const event of ['numClients', 'offer', 'peer-disconnect', 'reconnect']) c.wantNone(event, 'only the server says so')
    for (const event of ['offer', 'peer-signal', 'msg']) b.wantNone(event, 'another room')
    for (const peer of [a, b, c]) peer.close()
  })

  test(`p2p, client ${version}: entering twice, malformed input, a seventh member, one who left`, async () => {
    const room = `crowd ${version}`
    const peers = []
    for (let i = 0; i < 7; i++) peers.push(await enter(room, i))
    const [a, b] = peers
    const seventh = peers[6]
    seventh.emit('room', { username: 'again', room })
    assert.deepEqual(await seventh.want('numClients'), [6])
    for (const wrong of [undefined, null, 7, 'x', [], {}, { offers: 7 }, { offers: [null, 1, {}, { offerId: 1 }] }]) {
      seventh.emit('offers', wrong).emit('peer-signal', wrong)
    }
    seventh.emit('offers', offers(5)).emit('msg', 'once')
    for (const [i, peer] of peers.entries()) {
      if (peer === seventh) continue
      assert.deepEqual(await peer.want('msg'), ['once'])
      peer.wantNone('msg', 'entering twice doubles nothing')
      if (i < 5) assert.equal((await peer.want('offer'))[0].offerId, `o${i}`)
      else peer.wantNone('offer', 'there were only five')
    }
    const id = a.engine
    a.close()
    await b.want('peer-disconnect')
    b.emit('peer-signal', { signal: {}, toPeerId: id }).emit('msg', 'still there')
    assert.deepEqual(await seventh.want('msg'), ['still there'])
    for (const peer of peers) peer.close()
  })

  /** register brings an end of a pair. */
  async function register(uid, type) {
    const peer = await connect()
    const [welcome] = await peer.want('welcome')
    assert.equal(welcome.message, 'Welcome!')
    assert.equal(welcome.id, peer.socket.id)
    peer.emit('register', { uid, type })
    return peer
  }

  test(`pair, client ${version}: the two ends of one user`, async () => {
    const uid = `user ${version}`
    const web = await register(uid, 0)
    const app = await register(uid, '1')
    assert.deepEqual(await app.want('syncfrom'), [])
    web.emit('register', { uid, type: '0' })
    assert.deepEqual(await app.want('syncfrom'), [])
    app.emit('syncto', { notes: [1, null] })
    assert.deepEqual(await web.want('syncto'), [{ notes: [1, null] }])
    for (const event of ['export', 'exception', 'message', 'ctrlSendSpeed']) {
      web.emit(event, { event }, 'two')
      assert.deepEqual(await app.want(event), [{ event }, 'two'])
      app.emit(event, event)
      assert.deepEqual(await web.want(event), [event])
    }
    web.emit('ipaddr')
    assert.deepEqual(await web.want('ipaddr'), ['192.0.2.7'])
    web.emit('transfile', { size: 3, name: 'ä.txt', secret: 1 })
    assert.deepEqual(await app.want('transfile'), [{ size: 3, name: 'ä.txt' }])
    web.close()
    assert.deepEqual(await app.want('byebye'), [])
    const next = await register(uid, 0)
    assert.deepEqual(await app.want('syncfrom'), [])
    for (const peer of [next, app]) peer.close()
  })

  test(`pair, client ${version}: a file, chunk by chunk`, async () => {
    const web = await register(1000 + version, 0)
    const app = await register(String(1000 + version), 1)
    await app.want('syncfrom')
    const file = Buffer.alloc(2_000_000, 'abcdefg')
    const received = []
    web.emit('transfile', { size: file.length, name: 'a.bin' })
    let [{ size }] = await app.want('transfile')
    for (let at = 0; at < file.length; at += 400_000) {
      web.emit('message', file.subarray(at, at + 400_000))
      received.push(Buffer.from((await app.want('message'))[0]))
      size -= received.at(-1).length
      app.emit('ctrlSendSpeed', file.length - size)
      assert.deepEqual(await web.want('ctrlSendSpeed'), [file.length - size])
    }
    assert.equal(size, 0)
    assert.ok(Buffer.concat(received).equals(file))
    web.close()
    app.close()
  })

  test(`pair, client ${version}: pairs stay apart, strangers stay out, a second end replaces the first`, async () => {
    const [web, app] = [await register(`p${version}`, 0), await register(`p${version}`, 1)]
    const [web2, app2] = [await register(`q${version}`, 0), await register(`q${version}`, 1)]
    await app.want('syncfrom')
    await app2.want('syncfrom')
    const stranger = await connect()
    stranger.emit('message', 'from nobody').emit('transfile').emit('syncto').emit('register').emit('register', { uid: {}, type: 0 })
    await stranger.want('refused')
    const lonely = await register(`lonely${version}`, 0)
    for (const event of ['syncto', 'export', 'exception', 'message', 'transfile', 'ctrlSendSpeed']) lonely.emit(event)
    lonely.emit('ipaddr')
    await lonely.want('ipaddr')
    web2.emit('message', 'for q')
    assert.deepEqual(await app2.want('message'), ['for q'])

    const cut = gone(web)
    const second = await register(`p${version}`, 0)
    assert.deepEqual(await web.want('byebye'), [])
    await cut
    assert.deepEqual(await app.want('syncfrom'), [])
    app.wantNone('byebye', 'the web end is there')
    app.wantNone('message', 'it was for q, or from a stranger')
    second.emit('message', 'from the second')
    assert.deepEqual(await app.want('message'), ['from the second'])

    second.emit('register', { uid: `lonely${version}`, type: 1 })
    assert.deepEqual(await app.want('byebye'), [])
    assert.deepEqual(await second.want('syncfrom'), [])
    lonely.emit('message', 'hello')
    assert.deepEqual(await second.want('message'), ['hello'])
    for (const peer of [app, web2, app2, stranger, lonely, second]) peer.close()
  })

  test(`call, client ${version}: strings are relayed as they are, answers unwrapped`, async () => {
    const nsp = `/call${version}`
    const [caller, callee, third] = [await connect(nsp), await connect(nsp), await connect(nsp)]
    const offer = JSON.stringify({ data: { sdp: { type: 'offer', sdp: 'v=0\r\n<ü>' } } })
    caller.emit('offer', offer)
    for (const peer of [callee, third]) assert.deepEqual(await peer.want('offer'), [offer])
    callee.emit('answer', JSON.stringify({ type: '_answer', data: { sdp: { type: 'answer', sdp: 'v=0\r\n' } } }))
    for (const peer of [caller, third]) {
      assert.deepEqual(await peer.want('answer'), [{ message: { type: 'answer', sdp: 'v=0\r\n' } }])
    }
    for (const wrong of ['{', 'null', '[]', '{"data":null}']) caller.emit('answer', wrong)
    const candidate = JSON.stringify({ type: '_candidate', data: { candidate: null } })
    caller.emit('_ice_candidate', candidate)
    assert.deepEqual(await callee.want('_ice_candidate'), [candidate])
    callee.wantNone('answer', 'it was malformed')
    caller.wantNone('offer', 'it is its own')
    for (const peer of [caller, callee, third]) peer.close()
  })

  test(`chat, client ${version}: names, chat, calls`, async () => {
    const nsp = `/chat${version}`
    const [a, b, listener] = [await connect(nsp), await connect(nsp), await connect(nsp)]
    a.emit('join', 'alice')
    assert.deepEqual(await a.want('user-joined'), ['alice'])
    assert.deepEqual(await b.want('user-joined'), ['alice']) // who has not joined hears the room
    b.emit('join', 'bob')
    for (const peer of [a, b]) assert.deepEqual(await peer.want('user-joined'), ['bob'])
    assert.deepEqual(await listener.want('user-joined'), ['alice'])
    assert.deepEqual(await listener.want('user-joined'), ['bob'])
    a.emit('chat-message', 'hi <b>')
    for (const peer of [a, b, listener]) assert.deepEqual(await peer.want('chat-message'), [{ message: 'hi <b>' }])
    a.emit('offer', { targetUserId: 'bob', offer: { type: 'offer', sdp: 'v=0' } })
    assert.deepEqual(await b.want('offer'), [{ type: 'offer', sdp: 'v=0' }, { from: 'alice' }])
    b.emit('answer', { targetUserId: 'alice', answer: { type: 'answer', sdp: 'v=0' } })
    assert.deepEqual(await a.want('answer'), [{ type: 'answer', sdp: 'v=0' }, { from: 'bob' }])
    a.emit('candidate', { targetUserId: 'bob', candidate: null })
    assert.deepEqual(await b.want('candidate'), [null, { from: 'alice' }])
    listener.wantNone('offer', 'it was for bob')

    a.emit('offer', { targetUserId: 'nobody', offer: {} }).emit('offer', { targetUserId: '__proto__', offer: {} }).emit('offer').emit('candidate', null)
    listener.emit('join', 'bob')
    assert.equal((await listener.want('refused'))[0].code, 'taken')
    b.emit('join', 'robert')
    assert.deepEqual(await a.want('user-left'), ['bob'])
    assert.deepEqual(await a.want('user-joined'), ['robert'])
    listener.emit('join', 'bob')
    assert.deepEqual(await a.want('user-joined'), ['bob'])
    b.close()
    assert.deepEqual(await a.want('user-left'), ['robert'])
    for (const peer of [a, listener]) peer.close()
  })

  test(`chat, client ${version}: rooms in the address`, async () => {
    const nsp = `/rooms${version}`
    const red = await connect(`${nsp}?room=red`)
    const blue = await connect(`${nsp}?room=blue`)
    red.emit('join', 'alice')
    await red.want('user-joined')
    blue.emit('join', 'alice')
    assert.deepEqual(await blue.want('user-joined'), ['alice'])
    red.emit('chat-message', 'red')
    await red.want('chat-message')
    blue.emit('chat-message', 'blue')
    assert.deepEqual(await blue.want('chat-message'), [{ message: 'blue' }])
    for (const peer of [red, blue]) peer.close()
  })
}

test('with tokens, only who is registered hears the addresses of the server', async () => {
  const closed = await serve('-token')
  try {
    const app = await open(2, `${closed.url}?token=mine`)
    app.emit('ipaddr').emit('register', { uid: 'mine', type: 1 }).emit('register', { uid: 'mine', type: 1 }).emit('ipaddr')
    assert.deepEqual(await app.want('ipaddr'), ['192.0.2.7'])
    app.wantNone('ipaddr', 'the first was asked by a stranger')
    app.emit('register', { uid: 'theirs', type: 1 })
    assert.equal((await app.want('refused'))[0].code, 'forbidden', 'a token for one pair opens no other')
    app.close()
  } finally {
    await closed.stop()
  }
})

test('each socket hears only its own vocabulary, whatever their versions', async () => {
  const nsp = '/all'
  const connect = version => open(version, server.url + nsp, { transports: ways.websocket })
  const [c1, c2, e1, e2] = [await connect(2), await connect(4), await connect(2), await connect(4)]
  e1.emit('join', 'eve')
  e2.emit('join', 'eric')
  await e1.want('user-joined')
  await e1.want('user-joined')
  c1.emit('_ice_candidate', '1')
  await c2.want('_ice_candidate')
  c2.emit('_ice_candidate', '2')
  await c1.want('_ice_candidate')
  e1.emit('chat-message', 'for e')
  await e2.want('chat-message')
  c1.emit('offer', '"for c"')
  assert.deepEqual(await c2.want('offer'), ['"for c"'])
  e1.emit('offer', { targetUserId: 'eric', offer: { sdp: 1 } })
  assert.deepEqual(await e2.want('offer'), [{ sdp: 1 }, { from: 'eve' }])
  for (const c of [c1, c2]) c.wantNone('chat-message', 'it speaks call')
  for (const e of [e1, e2]) e.wantNone('offer', 'the string was for the others')
  for (const peer of [c1, c2, e1, e2]) peer.close()
})
