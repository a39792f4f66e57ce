// Package relay is the pure core of the TURN server: the STUN (RFC 8489) and
// TURN (RFC 8656) state machine, the allocations, permissions and channels, and
// the routing of data between clients and peers.
//
// It decides and does nothing: no socket, no clock, no goroutine. Every call
// takes the time as a Now and appends what should happen to a Batch that the
// caller owns: datagrams to send, relay sockets to open and to close, events to
// tell. The shell (package turnsrv) reads, calls, and carries the batch out.
//
// The three types to know: Table holds all allocations of one server; Client is
// one client 5-tuple, whatever its transport; Socket is one relayed transport
// address.
//
// # Concurrency
//
// Every method of Table may be called from any goroutine, each with its own
// Batch. Control of an allocation runs under a mutex; the data path (ChannelData,
// and packets from peers) loads atomic pointers to immutable entries, takes no
// lock and allocates nothing on the heap. An allocation is its pointer, never its
// address: ports and 5-tuples are used again.
//
// # Buffers
//
// A Send borrows its Body from the input and its Head from the batch; both stay
// valid until Batch.Reset, and the input must be left alone until then.
//
// # What it does not do
//
// TCP relaying (RFC 6062), mobility (RFC 8016), OAuth (RFC 7635) and NAT behaviour
// discovery (RFC 5780) are not spoken; attributes of theirs are answered with 420.
package relay
