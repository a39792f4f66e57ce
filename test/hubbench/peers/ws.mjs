// A signaling server on ws that does what the bench asks of rtcd's hub: rooms, messages to a room, signals to one
// peer. A message is parsed once, stamped with its sender, made into bytes once and sent to each receiver.
// Usage: node ws.mjs PORT [CERT KEY]
import {createServer} from 'node:http';
import {createServer as createSecureServer} from 'node:https';
import {randomBytes} from 'node:crypto';
import {readFileSync} from 'node:fs';
import {WebSocketServer} from 'ws';

const [port, cert, key] = process.argv.slice(2);
const server = cert ? createSecureServer({cert: readFileSync(cert), key: readFileSync(key)}) : createServer();
const wss = new WebSocketServer({server, path: '/ws', perMessageDeflate: false, maxPayload: 64 << 10});

const peers = new Map();
const rooms = new Map();

function join(ws, name) {
  let room = rooms.get(name);
  if (!room) rooms.set(name, room = new Set());
  tell(room, ws, {type: 'peer', room: name, event: 'join', peer: ws.peer});
  room.add(ws);
  ws.room = name;
}

function tell(room, except, event) {
  const frame = Buffer.from(JSON.stringify(event));
  for (const ws of room) if (ws !== except) ws.send(frame, {binary: false});
}

function take(ws, m) {
  switch (m.type) {
    case 'hello':
      join(ws, m.room);
      ws.send(JSON.stringify({type: 'welcome', peer: ws.peer, room: m.room}));
      break;
    case 'message': {
      const name = m.to.slice(1);
      if (ws.room === name) tell(rooms.get(name), ws, {type: 'message', from: ws.peer, room: name, data: m.data});
      break;
    }
    case 'signal': {
      const to = peers.get(m.to);
      if (to && to.room === ws.room) {
        to.send(JSON.stringify({type: 'signal', from: ws.peer, kind: m.kind, data: m.data}));
      }
    }
  }
}

wss.on('connection', ws => {
  ws.peer = randomBytes(16).toString('hex').slice(0, 26);
  ws.missed = 0;
  peers.set(ws.peer, ws);
  ws.on('message', data => {
    try {
      take(ws, JSON.parse(data));
    } catch {
      ws.close(4400);
    }
  });
  ws.on('pong', () => { ws.missed = 0; });
  ws.on('error', () => ws.terminate());
  ws.on('close', () => {
    peers.delete(ws.peer);
    const room = rooms.get(ws.room);
    if (!room) return;
    room.delete(ws);
    if (room.size === 0) rooms.delete(ws.room);
    else tell(room, ws, {type: 'peer', room: ws.room, event: 'leave', peer: ws.peer});
  });
});

setInterval(() => {
  for (const ws of wss.clients) {
    if (ws.missed++ > 2) ws.terminate();
    else ws.ping();
  }
}, 25000);

server.listen(Number(port), '127.0.0.1', () => console.log('ready'));
