//go:build linux

// Command hubbench measures signaling servers side by side: rtcd's hub, and servers of
// ours on ws and socket.io (peers/) that do the same job: rooms, messages to a room,
// signals to one peer. They do it in turns, on one machine.
//
// The server process is pinned to one core, the generator (this process) to another.
// The generator speaks WebSocket by hand: its frames are made beforehand, what comes back
// is counted by its frame headers, after the first one has been looked at in full.
//
// A load is closed: in each room so many messages are under way, and the next member
// speaks when all have received the one before. So nothing is dropped, and at the end
// every message must have arrived. The key figure is received messages per second of CPU
// time that the server's threads used, from /proc/PID/task/*/schedstat; what the kernel
// does for a server's system calls, to the receiver's side of the loopback, is in it.
//
// Memory is the growth of the server's resident set (/proc/PID/smaps_rollup) by idle
// sessions in a room each, as found some seconds later; no collector is called. The
// kernel's part is not in it.
package main
