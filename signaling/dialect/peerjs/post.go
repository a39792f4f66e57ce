package peerjs

import (
	"encoding/json"
	"strconv"

	"rtcd/signaling"
	"rtcd/signaling/dialect/rawjson"
)

const (
	maxBytes = 256 << 10 // of one peer's messages that wait behind others
	maxQueue = 64        // messages that wait behind one to the same peer
)

// post brings the messages of one peer to others, those for one receiver in order. The
// first one waits in the hub until its receiver is there, the rest behind it here.
// The client's lock guards it.
type post struct {
	session *signaling.Session
	wait    int // milliseconds that the first one waits
	serial  uint64
	first   map[string]string    // who gets the message, by the id that the hub answers to
	rest    map[string][]message // by receiver; there for each in first
	bytes   int                  // in rest
}

// send is false if nobody can ever have the name. What is too much is dropped.
func (p *post) send(m message) bool {
	if !rawjson.IsName(m.dst) {
		return false
	}
	signal := signaling.Message{Type: signaling.TypeSignal, To: "@" + m.dst, Kind: m.kind, Data: m.payload}
	if queue, waiting := p.rest[m.dst]; waiting {
		if size := len(m.payload); len(queue) < maxQueue && p.bytes+size <= maxBytes {
			p.rest[m.dst] = append(queue, m)
			p.bytes += size
		}
		return true
	}
	if m.waits() {
		if p.first == nil {
			p.first, p.rest = map[string]string{}, map[string][]message{}
		}
		p.serial++
		signal.ID, signal.Wait = json.RawMessage(strconv.FormatUint(p.serial, 10)), p.wait
		p.first[string(signal.ID)] = m.dst
		p.rest[m.dst] = nil
	}
	p.session.Apply(signal)
	return true
}

// take forgets the message that the hub has answered. It returns who should get it, and what
// waits behind it.
func (p *post) take(answered json.RawMessage) (dst string, queue []message) {
	dst, found := p.first[string(answered)]
	if !found {
		return "", nil
	}
	queue = p.rest[dst]
	delete(p.first, string(answered))
	delete(p.rest, dst)
	for _, m := range queue {
		p.bytes -= len(m.payload)
	}
	return dst, queue
}

// arrived is the hub's answer that a message has found its receiver: what waits
// behind it follows.
func (p *post) arrived(answered json.RawMessage) {
	_, queue := p.take(answered)
	for _, m := range queue {
		p.send(m)
	}
}

// failed is the answer that it has not: what waits behind it is dropped. It returns
// who did not come, "" if no message was meant.
func (p *post) failed(answered json.RawMessage) string {
	dst, _ := p.take(answered)
	return dst
}
