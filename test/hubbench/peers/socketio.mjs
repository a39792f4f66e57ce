// A signaling server on socket.io that does what the bench asks of rtcd's hub, with socket.io's own rooms.
// Usage: node socketio.mjs PORT [CERT KEY]
import {createServer} from 'node:http';
import {createServer as createSecureServer} from 'node:https';
import {readFileSync} from 'node:fs';
import {Server} from 'socket.io';

const [port, cert, key] = process.argv.slice(2);
const server = cert ? createSecureServer({cert: readFileSync(cert), key: readFileSync(key)}) : createServer();
const io = new Server(server, {perMessageDeflate: false, serveClient: false, maxHttpBufferSize: 64 << 10});

io.on('connection', socket => {
  let room;
  socket.on('join', (name, done) => {
    room = name;
    socket.to(name).emit('peer', {room: name, event: 'join', peer: socket.id});
    socket.join(name);
    done(socket.id);
  });
  socket.on('message', m => {
    const name = m.to.slice(1);
    if (socket.rooms.has(name)) socket.to(name).emit('message', {from: socket.id, room: name, data: m.data});
  });
  socket.on('signal', m => {
    if (io.sockets.sockets.get(m.to)?.rooms.has(room)) {
      io.to(m.to).emit('signal', {from: socket.id, kind: m.kind, data: m.data});
    }
  });
  socket.on('disconnecting', () => {
    if (room) socket.to(room).emit('peer', {room, event: 'leave', peer: socket.id});
  });
});

server.listen(Number(port), '127.0.0.1', () => console.log('ready'));
