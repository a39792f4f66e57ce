package relay

import (
	"net/netip"

	"github.com/pion/stun/v3"
)

// arenaChunk is what a batch sets aside for headers and answers at a time; a
// full GRO read of ChannelData needs 64 × 4 bytes, an answer about 150.
const arenaChunk = 16 << 10

// Batch collects what the calls of one round decided. It belongs to one goroutine;
// the shell carries it out and then calls Reset. The zero Batch is ready to use.
type Batch struct {
	Sends  []Send
	Opens  []Open    // to carry out, then to be reported by Table.Opened, each once
	Closes []*Socket // unlink at once; close once no worker or writer can still use the handle
	Events []Event
	Traces []Trace // of clients that are being checked; empty for all others
	Counts Counts

	arena []byte       // what Head slices point into; never moved, only replaced
	build []byte       // the STUN message under construction
	msg   stun.Message // the decoder's memory
}

// Reset forgets the batch after the flush and keeps its memory.
func (b *Batch) Reset() {
	clear(b.Sends)
	clear(b.Opens)
	clear(b.Closes)
	clear(b.Events)
	b.Sends, b.Opens, b.Closes, b.Events = b.Sends[:0], b.Opens[:0], b.Closes[:0], b.Events[:0]
	if len(b.Traces) > 0 {
		clear(b.Traces)
		b.Traces = b.Traces[:0]
	}
	b.Counts.reset()
	b.arena = b.arena[:0]
	b.msg.Raw = nil
}

// bytes returns n bytes that stay valid until Reset.
func (b *Batch) bytes(n int) []byte {
	if cap(b.arena)-len(b.arena) < n {
		b.arena = make([]byte, 0, max(arenaChunk, n))
	}
	at := len(b.arena)
	b.arena = b.arena[:at+n]
	return b.arena[at : at+n : at+n]
}

// toClient appends a message to a client.
func (b *Batch) toClient(c *Client, head, body []byte, pad int) {
	b.Sends = append(b.Sends, Send{
		Via: c.Via, To: c.Addr, From: c.Local.Addr(), Head: head, Body: body, Pad: uint8(pad),
	})
}

// toPeer appends a datagram that leaves from a relayed transport address.
func (b *Batch) toPeer(s *Socket, peer netip.AddrPort, body []byte, dontFragment bool) {
	b.Sends = append(b.Sends, Send{Via: s.Handle, To: peer, Body: body, DontFragment: dontFragment})
}

func (b *Batch) drop(r Reason) { b.Counts.Drops[r]++ }

// dropAll counts each of the datagrams of seg bytes that one read brought.
func (b *Batch) dropAll(r Reason, buf []byte, seg int) {
	n := 1
	if len(buf) > seg {
		n = (len(buf) + seg - 1) / seg
	}
	b.Counts.Drops[r] += uint64(n)
}
