// Socket.IO itself: three majors of the client, three ways to connect.
import { test, before, after } from 'node:test'
import assert from 'node:assert/strict'
import { serve, open, refused, upgraded, ways } from './lib.mjs'

let server
before(async () => { server = await serve() })
after(() => server.stop())

const unicode = 'Größe 你好 😀 \u0000 "quoted" <b>'

for (const version of [1, 2, 4]) {
  for (const [way, transports] of Object.entries(ways)) {
    test(`client ${version}, ${way}: events, Unicode, binary, order`, async () => {
      const room = `${version} ${way}`
      const a = await open(version, server.url, { transports })
      const b = await open(version, server.url, { transports })
      if (way === 'upgrade') await Promise.all([upgraded(a), upgraded(b)])
      a.emit('room', { username: 'a', room })
      assert.deepEqual(await a.want('numClients'), [0])
      b.emit('room', { username: 'b', room })
      assert.deepEqual(await b.want('numClients'), [1])

      a.emit('msg', { text: unicode }, [1, null, 'two'])
      assert.deepEqual(await b.want('msg'), [{ text: unicode }, [1, null, 'two']])

      const bytes = Buffer.from(Array.from({ length: 300 }, (_, i) => i % 256))
      a.emit('blob', { name: 'ü.bin', parts: [bytes, Buffer.from([4])] }, bytes)
      const [blob, second] = await b.want('blob')
      assert.equal(blob.name, 'ü.bin')
      assert.deepEqual(Buffer.from(blob.parts[0]), bytes)
      assert.deepEqual(Buffer.from(blob.parts[1]), Buffer.from([4]))
      assert.deepEqual(Buffer.from(second), bytes)

      for (let i = 0; i < 100; i++) a.emit('count', i)
      for (let i = 0; i < 100; i++) assert.deepEqual(await b.want('count'), [i])

      a.close()
      assert.equal((await b.want('peer-disconnect'))[0].peerId.length, 20)
      b.close()
    })
  }

  test(`client ${version}: what is sent during the upgrade arrives once and in order`, async () => {
    const room = `upgrade ${version}`
    const a = await open(version, server.url, { transports: ways.upgrade })
    const b = await open(version, server.url, { transports: ways.upgrade })
    a.emit('room', { room })
    await a.want('numClients')
    b.emit('room', { room })
    await b.want('numClients')
    for (let i = 0; i < 150; i++) {
      a.emit('n', i)
      b.emit('n', i)
      if (i % 10 === 0) await new Promise(resolve => setTimeout(resolve, 1))
    }
    for (let i = 0; i < 150; i++) {
      assert.deepEqual(await a.want('n'), [i])
      assert.deepEqual(await b.want('n'), [i])
    }
    await upgraded(a)
    a.close()
    b.close()
  })

  test(`client ${version}: a message of nearly 1 MB passes, a larger one ends the connection`, async () => {
    const a = await open(version, server.url, { transports: ways.websocket })
    const b = await open(version, server.url, { transports: ways.websocket })
    a.emit('room', { room: `big ${version}` })
    await a.want('numClients')
    b.emit('room', { room: `big ${version}` })
    await b.want('numClients')
    a.emit('big', Buffer.alloc(1000000, 7))
    const [big] = await b.want('big')
    assert.deepEqual(Buffer.from(big), Buffer.alloc(1000000, 7))
    const gone = new Promise(resolve => a.socket.on('disconnect', resolve))
    a.emit('big', Buffer.alloc(1100000))
    await gone
    await b.want('peer-disconnect')
    b.wantNone('big', 'it was too big')
    b.close()
  })

  test(`client ${version}: namespaces are tenants`, async () => {
    const all = await Promise.all(['/', '/team-a', '/team-b', '/team-a'].map(nsp => open(version, server.url + nsp)))
    const [common, a1, b, a2] = all
    a1.emit('join', 'alice')
    assert.deepEqual(await a1.want('user-joined'), ['alice'])
    assert.deepEqual(await a2.want('user-joined'), ['alice'])
    b.emit('join', 'alice')
    assert.deepEqual(await b.want('user-joined'), ['alice'])
    a2.emit('chat-message', 'for team a')
    assert.deepEqual(await a1.want('chat-message'), [{ message: 'for team a' }])
    common.wantNone('user-joined', 'another tenant')
    b.wantNone('chat-message', 'another tenant')
    for (const peer of all) peer.close()
  })

  test(`client ${version}: reconnects after the connection is cut`, async () => {
    const a = await open(version, server.url, { reconnection: true, reconnectionDelay: 50 })
    const before = a.engine
    const back = new Promise(resolve => a.socket.on('connect', resolve))
    a.socket.io.engine.close()
    await back
    assert.notEqual(a.engine, before)
    a.close()
  })
}

test('clients of all versions are in one room', async () => {
  const peers = []
  for (const version of [1, 2, 4]) {
    for (const transports of Object.values(ways)) {
      const peer = await open(version, server.url, { transports })
      peer.emit('room', { room: 'all of them' })
      assert.deepEqual(await peer.want('numClients'), [peers.length])
      peers.push(peer)
    }
  }
  for (const [i, peer] of peers.entries()) {
    peer.emit('hello', i, unicode, Buffer.from([i]))
    for (const other of peers) {
      if (other === peer) continue
      const [n, text, bytes] = await other.want('hello')
      assert.equal(n, i)
      assert.equal(text, unicode, `${peer.name} to ${other.name}`)
      assert.deepEqual([...Buffer.from(bytes)], [i])
    }
  }
  for (const peer of peers) peer.close()
})

test('tokens: a good one in the address opens the door, a wrong one or none does not', async () => {
  const closed = await serve('-token')
  try {
    for (const version of [1, 2, 4]) {
      for (const transports of Object.values(ways)) {
        assert.match(String(await refused(version, closed.url + '?token=wrong', { transports })), /error/i)
      }
      const a = await open(version, closed.url + '?token=red' + version)
      a.emit('room', { room: 'red' + version })
      assert.deepEqual(await a.want('numClients'), [0])
      const b = await open(version, closed.url + '?token=red' + version)
      b.emit('room', { room: 'blue' })
      assert.equal((await b.want('refused'))[0].code, 'forbidden')
      a.close()
      b.close()
    }
  } finally {
    await closed.stop()
  }
})

test('heartbeats keep every kind of connection alive', async () => {
  const quick = await serve('-ping', '1s')
  try {
    const peers = []
    for (const version of [1, 2, 4]) {
      for (const transports of Object.values(ways)) peers.push(await open(version, quick.url, { transports }))
    }
    await new Promise(resolve => setTimeout(resolve, 5000))
    for (const peer of peers) {
      assert.ok(peer.socket.connected, `${peer.name} is still there`)
      peer.close()
    }
  } finally {
    await quick.stop()
  }
})
