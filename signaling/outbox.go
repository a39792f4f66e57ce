package signaling

import "slices"

// Frame is one event on its way to a member. Seq is 0 for what is not numbered,
// and therefore not repeated after a resume.
type Frame struct {
	Seq   uint64
	Event *Event
	size  int // of Event, for the queue's bounds
}

// outbox is a member's queue: what was sent but not yet acknowledged, then what
// waits to be sent. Both parts are bounded by count and by bytes. A full waiting
// part is the member's end; from a full sent part (twice as large, for a resume may
// send a full queue again) the oldest is forgotten, and then a client that did not
// see it cannot resume.
//
// After a rewind what was sent waits again; the bounds do not count it twice.
//
//	frames  [ sent, sent, sent | again, again, waiting, waiting ]
//	                            next
type outbox struct {
	frames []Frame
	next   int // index of the first frame to be sent
	again  int // so many from there were admitted before
	seq    uint64
	floor  uint64 // everything up to this number is forgotten

	sentBytes, waitingBytes int
}

// push appends e and says whether there was room.
func (o *outbox) push(e *Event, numbered bool, limit Limits) bool {
	size := e.size()
	if len(o.frames)-o.next-o.again >= limit.Queue || o.waitingBytes+size > limit.QueueBytes && o.waitingBytes > 0 {
		return false
	}
	f := Frame{Event: e, size: size}
	if numbered {
		o.seq++
		f.Seq = o.seq
	}
	o.frames = append(o.frames, f)
	o.waitingBytes += size
	return true
}

// hogs says whether most of a queue that is nearly full is of one sender, to whom e would
// give still more. The last eighth is for the others.
func (o *outbox) hogs(e *Event, limit Limits) bool {
	waiting, size := o.frames[o.next:], e.size()
	share, shareBytes := limit.Queue-limit.Queue/8, limit.QueueBytes-limit.QueueBytes/8
	if len(waiting) < share && o.waitingBytes+size <= shareBytes {
		return false
	}
	n, bytes := 0, 0
	for _, f := range waiting {
		if f.Event.From == e.From {
			n++
			bytes += f.size
		}
	}
	return n > 0 && (n >= share || bytes+size > shareBytes)
}

// unshift puts e, without a number, before everything that waits.
func (o *outbox) unshift(e *Event) {
	o.frames = slices.Insert(o.frames, o.next, Frame{Event: e})
	o.again++
}

// take appends at most n waiting frames to batch and counts them as sent.
func (o *outbox) take(batch []Frame, n int, limit Limits) []Frame {
	n = min(n, len(o.frames)-o.next)
	batch = append(batch, o.frames[o.next:o.next+n]...)
	kept := o.frames[:o.next]
	for i, f := range o.frames[o.next : o.next+n] {
		if i >= o.again {
			o.waitingBytes -= f.size
		}
		if f.Seq != 0 {
			kept = append(kept, f) // writes at or before where it reads
			o.sentBytes += f.size
		}
	}
	o.again = max(0, o.again-n)
	sent := len(kept)
	o.frames = o.closeGap(kept, o.frames[o.next+n:])
	o.next = sent
	o.trim(limit)
	return batch
}

// trim forgets the oldest when too much was sent without an acknowledgement.
func (o *outbox) trim(limit Limits) {
	n := max(0, o.next-limit.Queue-limit.Queue)
	bytes := o.sentBytes
	for _, f := range o.frames[:n] {
		bytes -= f.size
	}
	for ; bytes-limit.QueueBytes > limit.QueueBytes; n++ {
		bytes -= o.frames[n].size
	}
	o.forget(n)
}

// closeGap moves tail behind kept and clears what is left over.
func (o *outbox) closeGap(kept, tail []Frame) []Frame {
	all := append(kept, tail...)
	clear(o.frames[len(all):])
	if len(all) == 0 {
		return nil // an idle member costs nothing
	}
	return all
}

// forget drops the n oldest sent frames.
func (o *outbox) forget(n int) {
	if n == 0 {
		return
	}
	for _, f := range o.frames[:n] {
		o.sentBytes -= f.size
		o.floor = f.Seq
	}
	clear(o.frames[:n])
	o.frames = o.frames[n:] // and not moved up: append does that now and then
	o.next -= n
	if len(o.frames) == 0 {
		o.frames = nil
	}
}

// ack forgets what the client says it has seen.
func (o *outbox) ack(seq uint64) {
	n := 0
	for n < o.next && o.frames[n].Seq <= seq {
		n++
	}
	o.forget(n)
}

// rewind makes everything after seq wait again, and says whether all of it is
// still there. What is not numbered is dropped: it was meant for the old socket.
func (o *outbox) rewind(seq uint64) bool {
	if seq < o.floor || seq > o.seq {
		return false
	}
	o.ack(seq)
	before := o.next + o.again
	kept, again := o.frames[:0], 0
	for i, f := range o.frames {
		switch {
		case f.Seq != 0:
			kept = append(kept, f)
			if i < before {
				again++
			}
		case i >= before:
			o.waitingBytes -= f.size
		}
	}
	clear(o.frames[len(kept):])
	o.frames, o.next, o.again, o.sentBytes = kept, 0, again, 0
	return true
}

// discard drops everything: the session is over.
func (o *outbox) discard() { *o = outbox{seq: o.seq, floor: o.seq} }
