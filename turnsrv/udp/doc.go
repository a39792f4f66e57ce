// Package udp reads and writes UDP datagrams in batches.
//
// The seam is a Loop: it owns the sockets and the goroutines that read them, and
// hands what arrives to a Handler; what is to be sent goes to a Writer, which
// collects it and lets it leave at the end of the batch. There are two loops. On
// Linux a worker per core parks in one epoll, reads with recvmmsg and UDP_GRO and
// writes with sendmmsg and UDP_SEGMENT. Elsewhere, and over the in-memory sockets
// of tests, each socket has a goroutine of its own.
//
// The types to know: Loop, Socket (one bound address, perhaps of several
// descriptors), Handler (what one worker reads), Writer (what one goroutine sends).
//
// # Batches
//
// A batch begins before the first read and ends after the last write: Begin, any
// number of Packet and Send, Flush, End. A Socket seen during a batch keeps its
// descriptor until the batch ends, even when another goroutine closes it
// meanwhile, so that a descriptor number used again never carries somebody else's
// media. Nothing waits to fill a batch, unless Options.Coalesce asks for it.
//
// # Shutdown
//
// Run returns when its context is done and all its goroutines have ended; by then
// every socket of the loop is closed.
//
// # What it does not do
//
// It knows nothing of STUN or TURN and connects no socket. Of IPv6 zones it keeps
// those of clients, so that link-local ones are answered, and drops those of peers.
package udp
