// easyrtc: the published client, unchanged, and its protocol word by word.
import { test, before, after } from 'node:test'
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { serve, open, refused, ways, within } from './lib.mjs'
import { Easy } from './easyrtc.mjs'

const require = createRequire(import.meta.url)
const texts = require('open-easyrtc/lib/easyrtc_public_obj.js').util

let server
before(async () => { server = await serve() })
after(() => server.stop())

let count = 0

for (const version of [2, 4]) {
  /** connect brings a client of its own into an application. */
  async function connect(application = `app${version}`, options) {
    const easy = new Easy(version, `easy${++count}`)
    easy.id = await easy.connect(server.url, application, options)
    return easy
  }

  for (const [way, transports] of Object.entries(ways)) {
    test(`client ${version}: two meet by ${way}, get credentials and see each other leave`, async () => {
      const a = await connect(way, { transports })
      const b = await connect(way, { transports })
      await a.occupants('default', [b.id])
      await b.occupants('default', [a.id])
      for (const easy of [a, b]) {
        const turn = easy.ice.find(s => s.urls[0].startsWith('turn:'))
        assert.match(turn.username, /^\d+:/, 'it is of this server')
        assert.ok(turn.credential)
      }
      assert.notEqual(a.ice[1].credential, b.ice[1].credential, 'each has its own')
      b.close()
      await a.occupants('default', [])
      assert.deepEqual([a.errors, b.errors], [[], []])
      a.close()
    })
  }

  test(`client ${version}: fresh credentials, presence, fields, names`, async () => {
    const [a, b] = [await connect(), new Easy(version, 'named')]
    b.rtc.setUsername('Bea "ü" <b>')
    b.rtc.updatePresence('dnd', 'asleep')
    b.id = await b.connect(server.url, `app${version}`)
    await a.occupants('default', [b.id])
    const seen = () => a.rtc.getRoomOccupantsAsMap('default')[b.id]
    assert.equal(a.rtc.idToName(b.id), 'Bea "ü" <b>')
    assert.deepEqual({ ...seen().presence }, { show: 'dnd', status: 'asleep' })
    assert.ok(Math.abs(seen().roomJoinTime - Date.now()) < 3600_000)
    b.rtc.updatePresence('away', 'far')
    b.rtc.setRoomApiField('default', 'colour', { is: ['red', null] })
    await a.want(() => seen().presence.show === 'away' && seen().apiField?.colour, 'presence and field')
    assert.deepEqual(JSON.parse(JSON.stringify(seen().apiField.colour.fieldValue)), { is: ['red', null] })
    assert.equal(await a.call(ok => a.rtc.getFreshIceConfig(ok), 'asks for credentials'), true)
    assert.ok(a.ice.length)
    assert.deepEqual([a.errors, b.errors], [[], []])
    for (const easy of [a, b]) easy.close()
  })

  test(`client ${version}: rooms`, async () => {
    const application = `rooms${version}`
    const [a, b] = [await connect(application), await connect(application)]
    for (const easy of [a, b]) await easy.call((ok, failed) => easy.rtc.joinRoom('team', { any: 1 }, ok, failed), 'joins')
    await a.occupants('team', [b.id])
    await b.occupants('team', [a.id])
    const elsewhere = await connect(`other${version}`)
    const list = await a.call((ok, failed) => a.rtc.getRoomList(ok, failed), 'lists')
    assert.deepEqual(JSON.parse(JSON.stringify(list)), {
      default: { roomName: 'default', numberClients: 2 }, team: { roomName: 'team', numberClients: 2 }
    })
    await b.call((ok, failed) => b.rtc.leaveRoom('default', ok, failed), 'leaves')
    await a.occupants('default', [])
    assert.deepEqual(Object.keys(b.rtc.getRoomsJoined()), ['team'])
    for (const easy of [a, b, elsewhere]) easy.close()
  })

  test(`client ${version}: messages to one, to a room, to nobody`, async () => {
    const application = `messages${version}`
    const [a, b, c] = [await connect(application), await connect(application), await connect(application)]
    for (const easy of [a, b]) await easy.call((ok, failed) => easy.rtc.joinRoom('team', null, ok, failed), 'joins')
    const send = (to, type, data) => a.call((ok, failed) => a.rtc.sendPeerMessage(to, type, data, ok, failed), `sends ${type}`)
    const data = { text: 'ü <b>', list: [1, null] }
    await send(b.id, 'toOne', data)
    assert.deepEqual(await b.want(e => e.type === 'toOne', 'toOne'), { from: a.id, type: 'toOne', data, targeting: { targetEasyrtcid: b.id } })
    await send({ targetRoom: 'team' }, 'toRoom', data)
    assert.deepEqual(await b.want(e => e.type === 'toRoom', 'toRoom'), { from: a.id, type: 'toRoom', data, targeting: { targetRoom: 'team' } })
    await send({ targetRoom: 'team', targetEasyrtcid: b.id }, 'both', 1)
    await b.want(e => e.type === 'both', 'both')
    for (const [to, code] of [
      ['nobody', 'MSG_REJECT_TARGET_EASYRTCID'],
      [a.id, 'MSG_REJECT_TARGET_EASYRTCID'],
      [{ targetRoom: 'elsewhere' }, 'MSG_REJECT_TARGET_ROOM'],
      [{ targetRoom: 'team', targetEasyrtcid: c.id }, 'MSG_REJECT_TARGET_ROOM'],
      [{ targetGroup: 'group' }, 'MSG_REJECT_TARGET_GROUP'],
      [{ targetGroup: 'group', targetEasyrtcid: b.id }, 'MSG_REJECT_TARGET_GROUP']
    ]) {
      await assert.rejects(send(to, 'refused', data), { code, message: texts.getErrorText(code) })
    }
    await send({ targetRoom: 'team', targetGroup: 'group' }, 'toGroup', data) // which is empty
    await send({ targetRoom: 'default' }, 'last', data)
    for (const easy of [b, c]) {
      await easy.want(e => e.type === 'last', 'last')
      assert.ok(!easy.heard.some(e => ['refused', 'toGroup'].includes(e.type)))
    }
    for (const easy of [a, b, c]) easy.close()
  })

  test(`client ${version}: comes back when its connection is cut`, async () => {
    const application = `back${version}`
    const a = await connect(application)
    const b = await connect(application, { reconnection: true, reconnectionDelay: 10 })
    await a.occupants('default', [b.id])
    await b.occupants('default', [a.id])
    b.rtc.webSocket.io.engine.close()
    await b.want(e => e.disconnected, 'the cut')
    await b.occupants('default', [a.id])
    assert.notEqual(b.rtc.myEasyrtcid, b.id)
    await a.occupants('default', [b.rtc.myEasyrtcid])
    for (const easy of [a, b]) easy.close()
  })

  // From here on the words themselves, by the client of Socket.IO alone.

  const ask = (peer, event, message) => within(new Promise(resolve => peer.socket.emit(event, message, resolve)), `${event} ${JSON.stringify(message)}`)

  async function authenticate(data = {}) {
    const peer = await open(version, server.url)
    const token = await ask(peer, 'easyrtcAuth', {
      msgType: 'authenticate', msgData: { apiVersion: '2.1.8', applicationName: `raw${version}`, ...data }
    })
    return Object.assign(peer, { token, id: token.msgData.easyrtcid })
  }

  function assertError(answer, code) {
    assert.equal(answer.msgType, 'error')
    assert.deepEqual(answer.msgData, { errorCode: code, errorText: texts.getErrorText(code) })
  }

  test(`raw ${version}: the token, the deltas, signals with their sender`, async () => {
    const a = await authenticate({ easyrtcsid: 'sid.of%a', roomJoin: { one: { roomName: 'one' }, two: { roomName: 'two', roomParameter: {} } } })
    const { easyrtcid, serverTime, ...rest } = a.token.msgData
    assert.match(easyrtcid, /^[a-z0-9_.-]{1,32}$/i)
    assert.equal(typeof serverTime, 'number')
    const me = { easyrtcid, roomJoinTime: rest.roomData.one.clientList[easyrtcid].roomJoinTime, presence: { show: 'chat', status: null } }
    assert.deepEqual(rest.roomData.one, { roomName: 'one', roomStatus: 'join', clientList: { [easyrtcid]: me } })
    assert.deepEqual(Object.keys(rest.roomData), ['one', 'two'])
    assert.deepEqual(rest.application, { applicationName: `raw${version}` })
    assert.deepEqual(rest.sessionData, { easyrtcsid: 'sid.of%a' })
    assert.ok(Array.isArray(rest.iceConfig.iceServers))

    const b = await authenticate({ username: 'bob', roomJoin: { two: { roomName: 'two' } } })
    assert.deepEqual(b.token.msgData.roomData.two.clientList[a.id].presence, me.presence)
    const [joined] = await a.want('easyrtcCmd')
    assert.equal(joined.msgType, 'roomData')
    assert.equal(joined.easyrtcid, a.id)
    const { roomJoinTime, ...seen } = joined.msgData.roomData.two.clientListDelta.updateClient[b.id]
    assert.deepEqual(seen, { easyrtcid: b.id, username: 'bob', presence: me.presence })
    assert.equal(joined.msgData.roomData.two.roomStatus, 'update')

    for (const [msgType, msgData] of [
      ['offer', { type: 'offer', sdp: 'v=0\r\n<ü>' }], ['answer', { type: 'answer', sdp: 'v=0' }],
      ['candidate', { type: 'candidate', label: 0, id: '0', candidate: 'candidate:1' }], ['reject'], ['hangup']
    ]) {
      assert.deepEqual(await ask(b, 'easyrtcCmd', { msgType, msgData, targetEasyrtcid: a.id, senderEasyrtcid: 'forged' }), { msgType: 'ack' })
      const [{ serverTime, ...signal }] = await a.want('easyrtcCmd')
      assert.deepEqual(signal, { msgType, senderEasyrtcid: b.id, easyrtcid: a.id, ...(msgData && { msgData }) })
      assert.equal(typeof serverTime, 'number')
    }
    assert.deepEqual(await ask(b, 'easyrtcCmd', { msgType: 'setUserCfg', msgData: { setUserCfg: { p2pList: { x: {} } } } }), { msgType: 'ack' })
    const left = await ask(b, 'easyrtcCmd', { msgType: 'roomLeave', msgData: { roomLeave: { two: { roomName: 'two' }, never: { roomName: 'never' } } } })
    assert.deepEqual(left, { msgType: 'roomData', msgData: { roomData: { two: { roomName: 'two', roomStatus: 'leave' }, never: { roomName: 'never', roomStatus: 'leave' } } } })
    const [gone] = await a.want('easyrtcCmd')
    assert.deepEqual(gone.msgData.roomData, { two: { roomName: 'two', roomStatus: 'update', clientListDelta: { removeClient: { [b.id]: { easyrtcid: b.id } } } } })
    assert.equal((await ask(b, 'easyrtcCmd', { msgType: 'getIceConfig', msgData: {} })).msgType, 'iceConfig')
    await ask(b, 'easyrtcCmd', { msgType: 'roomJoin', msgData: { roomJoin: { one: { roomName: 'one' } } } })
    assert.equal((await b.want('easyrtcCmd'))[0].msgType, 'iceConfig', 'those of before went with the last room')
    const again = await ask(b, 'easyrtcAuth', { msgType: 'authenticate', msgData: { apiVersion: '1.0' } })
    assert.deepEqual(Object.keys(again.msgData.roomData), ['default'])
    assert.ok((await a.want('easyrtcCmd'))[0].msgData.roomData.one.clientListDelta.updateClient[b.id])
    assert.ok((await a.want('easyrtcCmd'))[0].msgData.roomData.one.clientListDelta.removeClient[b.id], 'who authenticates again is another one')
    for (const peer of [a, b]) peer.close()
  })

  test(`raw ${version}: binary, for whoever sends some`, async () => {
    const [a, b] = [await authenticate(), await authenticate()]
    await ask(a, 'easyrtcMsg', { msgType: 'file', msgData: { part: Buffer.from([1, 2, 3]) }, targetEasyrtcid: b.id })
    const [message] = await b.want('easyrtcMsg')
    assert.deepEqual([...Buffer.from(message.msgData.part)], [1, 2, 3])
    for (const peer of [a, b]) peer.close()
  })

  test(`raw ${version}: what is wrong is refused in easyrtc's words, and harms nobody`, async () => {
    const [a, b] = [await authenticate(), await authenticate()]
    const target = { targetEasyrtcid: b.id }
    for (const [message, code] of [
      [null, 'MSG_REJECT_BAD_STRUCTURE'], ['x', 'MSG_REJECT_BAD_STRUCTURE'], [7, 'MSG_REJECT_BAD_STRUCTURE'],
      [{}, 'MSG_REJECT_BAD_TYPE'], [{ msgType: 7 }, 'MSG_REJECT_BAD_TYPE'], [{ msgType: 'stillAlive' }, 'MSG_REJECT_BAD_TYPE'],
      [{ msgType: '__proto__' }, 'MSG_REJECT_BAD_TYPE'],
      [{ msgType: 'offer', msgData: {}, ...target }, 'MSG_REJECT_BAD_DATA'],
      [{ msgType: 'offer', msgData: 'x', ...target }, 'MSG_REJECT_BAD_DATA'],
      [{ msgType: 'offer', msgData: { sdp: '' } }, 'MSG_REJECT_BAD_STRUCTURE'],
      [{ msgType: 'offer', msgData: { sdp: '' }, targetEasyrtcid: '#default' }, 'MSG_REJECT_BAD_STRUCTURE'],
      [{ msgType: 'offer', msgData: { sdp: '' }, targetEasyrtcid: 'nobody' }, 'MSG_REJECT_TARGET_EASYRTCID'],
      [{ msgType: 'hangup', msgData: {}, ...target }, 'MSG_REJECT_BAD_DATA'],
      [{ msgType: 'hangup', targetEasyrtcid: 'nobody' }, 'MSG_REJECT_TARGET_EASYRTCID'],
      [{ msgType: 'roomJoin' }, 'MSG_REJECT_BAD_DATA'],
      [{ msgType: 'roomJoin', msgData: {} }, 'MSG_REJECT_BAD_STRUCTURE'],
      [{ msgType: 'roomJoin', msgData: { roomJoin: { x: { roomName: 'y' } } } }, 'MSG_REJECT_BAD_STRUCTURE'],
      [{ msgType: 'roomJoin', msgData: { roomJoin: { 'a b': { roomName: 'a b' } } } }, 'MSG_REJECT_BAD_STRUCTURE'],
      [{ msgType: 'roomLeave', msgData: { roomLeave: 7 } }, 'MSG_REJECT_BAD_STRUCTURE'],
      [{ msgType: 'getRoomList', msgData: {} }, 'MSG_REJECT_BAD_DATA'],
      [{ msgType: 'getIceConfig', msgData: { x: 1 } }, 'MSG_REJECT_BAD_DATA'],
      [{ msgType: 'setPresence', msgData: { setPresence: {} } }, 'MSG_REJECT_BAD_STRUCTURE'],
      [{ msgType: 'setPresence', msgData: { setPresence: { show: 'happy' } } }, 'MSG_REJECT_BAD_STRUCTURE'],
      [{ msgType: 'setPresence', msgData: { setPresence: { status: 'x'.repeat(256) } } }, 'MSG_REJECT_BAD_STRUCTURE'],
      [{ msgType: 'setRoomApiField', msgData: { setRoomApiField: { roomName: 'never', field: {} } } }, 'MSG_REJECT_BAD_ROOM'],
      [{ msgType: 'setRoomApiField', msgData: { setRoomApiField: { roomName: 'default', field: 7 } } }, 'MSG_REJECT_BAD_STRUCTURE'],
      [{ msgType: 'setRoomApiField', msgData: { setRoomApiField: { roomName: 'default', field: { x: 'x'.repeat(4096) } } } }, 'MSG_REJECT_BAD_SIZE'],
      [{ msgType: 'setUserCfg', msgData: {} }, 'MSG_REJECT_BAD_STRUCTURE']
    ]) assertError(await ask(a, 'easyrtcCmd', message), code)
    for (const [message, code] of [
      [{}, 'MSG_REJECT_BAD_TYPE'], [{ msgType: 'x' }, 'MSG_REJECT_BAD_TYPE'],
      [{ msgType: 'x', targetEasyrtcid: null }, 'MSG_REJECT_TARGET_EASYRTCID'],
      [{ msgType: 'x', targetRoom: {} }, 'MSG_REJECT_TARGET_ROOM'], [{ msgType: 'x', targetGroup: '#' }, 'MSG_REJECT_TARGET_GROUP']
    ]) assertError(await ask(a, 'easyrtcMsg', message), code)
    a.emit('easyrtcCmd', { msgType: 'offer', msgData: { sdp: '' }, ...target }) // without an ack it is ignored
    a.emit('easyrtcMsg').emit('easyrtcCmd', undefined)
    await ask(a, 'easyrtcMsg', { msgType: 'still here', ...target })
    assert.equal((await b.want('easyrtcMsg'))[0].msgType, 'still here')
    b.wantNone('easyrtcCmd', 'nothing was right')
    for (const peer of [a, b]) peer.close()
  })

  test(`raw ${version}: who does not authenticate well`, async () => {
    const stranger = await open(version, server.url)
    assertError(await ask(stranger, 'easyrtcCmd', { msgType: 'getRoomList' }), 'MSG_REJECT_NO_AUTH')
    assertError(await ask(stranger, 'easyrtcMsg', { msgType: 'x', targetRoom: 'default' }), 'MSG_REJECT_NO_AUTH')
    stranger.close()
    for (const [message, code] of [
      [undefined, 'LOGIN_BAD_AUTH'], [{ msgType: 'hello' }, 'LOGIN_BAD_AUTH'],
      [{ msgType: 'authenticate' }, 'LOGIN_BAD_STRUCTURE'],
      [{ msgType: 'authenticate', msgData: { apiVersion: '2', roomJoin: 'x' } }, 'LOGIN_BAD_STRUCTURE'],
      ...[{ apiVersion: '' }, { applicationName: 'a b' }, { username: '' }, { username: 'a\nb' }, { credential: {} }, { easyrtcsid: ' ' },
        { setPresence: { show: 1 } }, { roomJoin: { x: {} } }].map(wrong =>
        [{ msgType: 'authenticate', msgData: { apiVersion: '2', ...wrong } }, 'MSG_REJECT_BAD_STRUCTURE'])
    ]) {
      const peer = await open(version, server.url)
      const ended = new Promise(resolve => peer.socket.on('disconnect', resolve))
      assertError(await ask(peer, 'easyrtcAuth', message ?? null), code)
      await within(ended, 'the end of who is refused')
    }
    const silent = await open(version, server.url)
    const ended = new Promise(resolve => silent.socket.on('disconnect', resolve))
    silent.emit('easyrtcAuth', { msgType: 'authenticate', msgData: { apiVersion: '2' } })
    await within(ended, 'the end of who wants no answer')
  })

  test(`client ${version}: with tokens, each room is its own`, async () => {
    const closed = await serve('-token')
    try {
      assert.match(String(await refused(version, closed.url)), /./)
      const enter = async token => {
        const easy = new Easy(version, `${token}${++count}`)
        easy.id = await easy.connect(`${closed.url}?token=${token}`)
        return easy
      }
      const [a, b, c] = [await enter('red'), await enter('red'), await enter('blue')]
      await a.occupants('red', [b.id])
      await b.occupants('red', [a.id])
      assert.deepEqual(Object.keys(await c.call((ok, failed) => c.rtc.getRoomList(ok, failed), 'lists')), ['blue'])
      await assert.rejects(c.call((ok, failed) => c.rtc.joinRoom('red', null, ok, failed), 'joins'), { code: 'MSG_REJECT_BAD_ROOM' })
      await assert.rejects(c.call((ok, failed) => c.rtc.sendPeerMessage(a.id, 'x', 1, ok, failed), 'sends'), { code: 'MSG_REJECT_TARGET_EASYRTCID' })
      await c.call((ok, failed) => c.rtc.leaveRoom('blue', ok, failed), 'leaves')
      assert.equal(await c.call(ok => c.rtc.getFreshIceConfig(ok), 'asks for credentials'), false)
      assert.ok(c.errors.includes('MSG_REJECT_NO_AUTH'), 'credentials go to members of a room')
      for (const easy of [a, b, c]) easy.close()
    } finally {
      await closed.stop()
    }
  })
}
