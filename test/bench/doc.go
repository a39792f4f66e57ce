//go:build linux

// Command bench measures TURN relays side by side: rtcd, coturn and pion's server do
// the same work, in turns, on the same machine.
//
//	          11.22.33.0/25                11.22.33.128/25
//	client .2 ─────────────── .1 server .129 ─────────────── .130 peer
//	         c0            s0              s1             p0
//
// The three are network namespaces joined by veth, made and removed by the bench. The
// server process is pinned to one core, the generator (this process) to another.
//
// Each sample starts a server, makes real allocations with TURN REST credentials,
// binds channels, checks that a packet gets through both ways unchanged, and then
// sends frames made beforehand through AF_PACKET sockets with the addresses of those
// allocations. What the server delivers is counted and dropped by an nftables chain
// at the ingress of the receiving veth, so that receiving costs next to nothing. The
// key figure is delivered packets per second of CPU time that the server's threads
// (and the ksoftirqd of its core) used, from /proc/PID/task/*/schedstat.
//
// What is charged to the server: its system calls with the whole send path, including
// the veth and the counting. What is not: the receive path up to its sockets, which
// runs on the core of the generator. Super-frames are counted as the packets in them;
// they are not cut up before they are counted, as with a network card that does that.
package main
