package signaling

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// turn is a link whose session has something to send, and which nobody else writes to.
type turn struct {
	s *Session
	l *link
}

// turnsInRow is how many turns one goroutine takes; more are shared out among several.
const turnsInRow = 64

var rows = sync.Pool{New: func() any { b := make([]turn, 0, turnsInRow); return &b }}

// takeTurns empties turns and writes to all of them without waiting for anybody: a goroutine for many receivers
// of one message, where each would need one of its own if it might have to wait. It begins
// when those who are already about to speak have spoken, so that what they say goes out in
// the same write. A lone turn goes to row, if that is not nil.
func (h *Hub) takeTurns(turns, row *[]turn) {
	if len(*turns) == 1 && row != nil {
		*row = append(*row, (*turns)[0])
		clear(*turns)
		*turns = (*turns)[:0]
		return
	}
	if len(*turns) == 1 { // nothing to share
		t := (*turns)[0]
		h.wg.Add(1)
		// Owned by the hub's WaitGroup; ends when the queue is empty or the link is cut.
		go t.s.write(t.l)
		clear(*turns)
		*turns = (*turns)[:0]
		return
	}
	for some := range slices.Chunk(*turns, turnsInRow) {
		row := rows.Get().(*[]turn)
		*row = append((*row)[:0], some...)
		h.wg.Add(1)
		// Owned by the hub's WaitGroup; ends after one turn of each.
		go func() {
			defer h.wg.Done()
			runtime.Gosched()
			h.writeRow(row)
			rows.Put(row)
		}()
	}
	clear(*turns)
	*turns = (*turns)[:0]
}

// writeRow takes the turns in row and empties it.
func (h *Hub) writeRow(row *[]turn) {
	if len(*row) == 0 {
		return
	}
	var sent tally
	for _, t := range *row {
		t.s.writeNow(t.l, &sent)
	}
	sent.tell(h.metrics, time.Now())
	clear(*row)
	*row = (*row)[:0]
}

// writeNow is write for a goroutine that must not wait. What has to wait goes on in another.
func (s *Session) writeNow(l *link, sent *tally) {
	defer s.hub.guard(&s)
	batch := batches.Get().(*[]Frame)
	for {
		ok, code, reason := s.next(l, batch)
		if !ok {
			batches.Put(batch)
			if code != 0 {
				s.later(func() { l.t.Close(code, reason) })
			}
			return
		}
		rest, room, err := l.prompt.TrySend(*batch)
		if err == nil && !room {
			s.later(func() {
				defer batches.Put(batch)
				if s.send(l, batch, rest) {
					s.writeOn(l, batch)
				}
			})
			return
		}
		if !s.wrote(l, batch, sent, err) {
			batches.Put(batch)
			return
		}
	}
}

// later lets what may wait go on by itself.
func (s *Session) later(f func()) {
	s.hub.wg.Add(1)
	// Owned by the hub's WaitGroup; each of its writes has a deadline.
	go func() {
		defer s.hub.wg.Done()
		defer s.hub.guard(&s)
		f()
	}()
}
