// JSON over a plain WebSocket, for the tests of the dialects that speak it.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { once } from 'node:events'
import { within } from './lib.mjs'

export const WebSocket = createRequire(import.meta.url)('ws')

/** What the tutorials' server says first, also to y-webrtc's clients. */
export const hello = { type: 'hello', message: 'Welcome to connect Signaling Server' }

/** Plain is one socket that keeps what it hears. */
export class Plain {
  constructor(server, path, name) {
    this.name = name
    this.heard = []
    this.ws = new WebSocket(server.url.replace('http', 'ws') + path)
    this.opened = once(this.ws, 'open')
    this.closed = once(this.ws, 'close')
    this.ws.on('message', data => {
      this.heard.push(JSON.parse(data))
      this.ws.emit('heard')
    })
  }

  say(message) { this.ws.send(typeof message === 'string' ? message : JSON.stringify(message)); return this }

  /** next is the next message. */
  async next(what) {
    while (this.heard.length === 0) await within(once(this.ws, 'heard'), `${this.name} wants ${what}`)
    return this.heard.shift()
  }

  /** want hears the next message, which is exactly that. */
  async want(message) { assert.deepEqual(await this.next(JSON.stringify(message)), message) }

  /** wantSilence wants nothing before a pong. */
  async wantSilence(why) {
    this.say({ type: 'ping' })
    assert.deepEqual(await this.next('a pong'), { type: 'pong' }, why)
  }

  /** wantEnd wants the server to close the socket with a code. */
  async wantEnd(code) { assert.equal((await within(this.closed, `${this.name} wants the end`))[0], code) }

  async close() {
    this.ws.close()
    await this.closed
  }
}
