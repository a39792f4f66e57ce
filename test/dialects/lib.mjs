// What the tests of the published clients share: a server, and clients that say in
// words what they hear.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { once } from 'node:events'
import readline from 'node:readline'
import assert from 'node:assert/strict'

const require = createRequire(import.meta.url)

/** The published clients of Socket.IO, by major version. */
export const clients = {
  1: require('socket.io-client-1'),
  2: require('socket.io-client-2'),
  4: require('socket.io-client-4').io
}

/** The ways to connect: as they come in the wild. */
export const ways = {
  websocket: ['websocket'],
  polling: ['polling'],
  upgrade: ['polling', 'websocket']
}

/** serve starts a server, and returns its address and a way to end it. */
export async function serve(...args) {
  if (process.env.RTCD_URL && args.length === 0) return { url: process.env.RTCD_URL, stop() {} }
  const program = process.env.DIALECTTEST
  const child = program
    ? spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    : spawn('go', ['run', './signaling/dialect/dialecttest', ...args],
      { cwd: new URL('../..', import.meta.url), stdio: ['pipe', 'pipe', 'inherit'] })
  const [url] = await once(readline.createInterface(child.stdout), 'line')
  return {
    url,
    async stop() {
      child.stdin.end()
      await once(child, 'exit')
    }
  }
}

/** within fails when a promise takes long; what names it. */
export async function within(promise, what, ms = 20000) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing in ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Peer is one client: it keeps every event that it hears until somebody asks. */
export class Peer {
  constructor(socket, name) {
    this.socket = socket
    this.name = name
    this.heard = []
    this.waiting = []
    const onevent = socket.onevent
    socket.onevent = packet => {
      this.push([...packet.data])
      onevent.call(socket, packet)
    }
  }

  push(event) {
    this.heard.push(event)
    for (const look of this.waiting.splice(0)) look()
  }

  /** want returns the arguments of the next event of that name. */
  want(event) {
    const found = new Promise(resolve => {
      const look = () => {
        const i = this.heard.findIndex(([name]) => name === event)
        if (i < 0) this.waiting.push(look)
        else resolve(this.heard.splice(i, 1)[0].slice(1))
      }
      look()
    })
    return within(found, `${this.name} wants ${event}, has ${JSON.stringify(this.heard).slice(0, 300)}`)
  }

  /** wantNone fails if there is an event of that name by now. */
  wantNone(event, why) {
    assert.ok(!this.heard.some(([name]) => name === event), `${this.name} hears ${event}: ${why}`)
  }

  emit(...args) {
    this.socket.emit(...args)
    return this
  }

  /** The id of the channel below, whatever the version. */
  get engine() { return this.socket.io.engine.id }

  close() { this.socket.close() }
}

let count = 0

/** open connects a client of a version to an address. */
export async function open(version, url, options = {}) {
  const socket = clients[version](url, { forceNew: true, reconnection: false, ...options })
  const peer = new Peer(socket, `client ${version} #${++count}`)
  await within(new Promise((resolve, reject) => {
    socket.on('connect', resolve)
    for (const failure of ['connect_error', 'error']) socket.on(failure, e => reject(e instanceof Error ? e : new Error(e)))
  }), `${peer.name} connects`)
  return peer
}

/** refused is the reason why a client could not connect. */
export async function refused(version, url, options = {}) {
  try {
    const peer = await open(version, url, options)
    peer.close()
  } catch (e) {
    return e
  }
  assert.fail('the client was let in')
}

/** upgraded waits until a client's channel is a WebSocket. */
export function upgraded(peer) {
  const engine = peer.socket.io.engine
  if (engine.transport.name === 'websocket') return
  return within(new Promise(resolve => engine.once('upgrade', resolve)), `${peer.name} upgrades`)
}
