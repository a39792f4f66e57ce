// The published client of easyrtc, in Node: its file runs in a window that has what it
// looks for, over the client of Socket.IO that is asked for.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import vm from 'node:vm'
import { clients, within } from './lib.mjs'

const require = createRequire(import.meta.url)
const file = require.resolve('open-easyrtc/api/easyrtc.js')
const script = new vm.Script(readFileSync(file, 'utf8'), { filename: file })

/** Easy is one easyrtc client: it keeps every message and command until somebody asks. */
export class Easy {
  constructor(version, name) {
    const window = vm.createContext({
      io: clients[version], console, setTimeout, clearTimeout, setInterval, clearInterval,
      document: { cookie: 'easyrtcsid=session-of-' + name }, location: { protocol: 'https:' },
      screen: { width: 1, height: 1 }, navigator: { userAgent: 'node', mediaDevices: {} }, alert() {}
    })
    window.window = window
    script.runInContext(window)
    this.rtc = window.easyrtc
    this.name = name
    this.errors = []
    this.heard = []
    this.waiting = []
    this.rtc.setOnError(e => this.errors.push(e.errorCode))
    this.rtc.setPeerListener((from, type, data, targeting) => this.push({ from, type, data, targeting }))
    this.rtc.setRoomOccupantListener((room, others) => this.push({ room, others: Object.keys(others) }))
    this.rtc.setDisconnectListener(() => this.push({ disconnected: true }))
    this.rtc.enableAudio(false)
    this.rtc.enableVideo(false)
  }

  push(event) {
    this.heard.push(JSON.parse(JSON.stringify(event)))
    for (const look of this.waiting.splice(0)) look()
  }

  /** want returns the next event that fits, and forgets those before. */
  want(fits, what) {
    const found = new Promise(resolve => {
      const look = () => {
        const i = this.heard.findIndex(fits)
        if (i < 0) this.waiting.push(look)
        else resolve(this.heard.splice(0, i + 1).at(-1))
      }
      look()
    })
    return within(found, `${this.name} wants ${what}, has ${JSON.stringify(this.heard)}, errors ${this.errors}`)
  }

  /** occupants waits until the client knows just these others in a room. */
  occupants(room, ids) {
    const want = JSON.stringify([...ids].sort())
    return this.want(e => e.room === room && JSON.stringify(e.others.sort()) === want, `${want} in ${room}`)
  }

  /** connect returns the easyrtcid, or throws the code of the error. */
  connect(url, application = 'test', options = {}) {
    this.rtc.setSocketUrl(url, { forceNew: true, reconnection: false, ...options })
    return this.call((ok, failed) => this.rtc.connect(application, ok, failed), 'connects')
  }

  /** call turns a function of two callbacks into a promise. */
  call(f, what) {
    return within(new Promise((resolve, reject) => {
      f((...results) => resolve(results.length > 1 ? results : results[0]), (code, text) => reject(Object.assign(new Error(text), { code })))
    }), `${this.name} ${what}`)
  }

  /** The configuration of RTCPeerConnection that the client would use. */
  get ice() { return JSON.parse(JSON.stringify(this.rtc.getServerIce().iceServers)) }

  close() { this.rtc.disconnect() }
}
