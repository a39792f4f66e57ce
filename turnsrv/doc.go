// Package turnsrv is the shell of the STUN and TURN server: it listens, frames,
// reads and writes, and lets package relay decide.
//
// The types to know: Server, which is one TURN server with any number of
// listeners; Options, fixed at its birth, and relay.Policy, which may change while
// it runs.
//
// A datagram takes this way: a worker of package udp reads a batch and hands each
// packet to its round; the round asks relay.Table; at the end of the batch it
// writes what the table wants sent, opens and closes relay sockets, and tells the
// events. The reader of a TCP, TLS or DTLS connection borrows a round for each
// read and does the same.
//
// # Goroutines
//
// One per UDP worker, one per listener that accepts, one for the clock, two per
// client connection (its reader, and its writer, so that a client that reads too
// slowly holds up nobody else). Each recovers from a panic: it costs the batch or
// the connection, is counted and logged, and the process goes on.
//
// # Shutdown
//
// Run returns when its context is done, every allocation has ended (reason
// "shutdown"), every socket is closed and every goroutine has returned. Drain
// beforehand refuses new allocations and leaves the live ones alone.
//
// # What it does not do
//
// It reads no files, and mints no credentials: relay.Keys come from outside
// (Credentials adapts package creds).
package turnsrv
