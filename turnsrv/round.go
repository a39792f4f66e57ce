package turnsrv

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"

	"rtcd/turnsrv/relay"
	"rtcd/turnsrv/udp"
)

// round is one batch: what the table decided about the packets of one read, and the
// means to carry it out. It belongs to one goroutine at a time: each UDP worker has
// its own, everybody else borrows one from the Server.
type round struct {
	srv    *Server
	w      udp.Writer
	batch  relay.Batch
	totals relay.Totals // sums of batch.Counts; any goroutine may read them

	now    relay.Now    // the time of this batch
	timed  bool         // now is set
	client relay.Client // scratch: the sender of the current datagram
	woken  []*conn      // connections that got something to write

	opened, told, traced int // how many of batch.Opens, Events and Traces have been seen to
}

// time returns the time of the batch, which is that of its first packet.
func (r *round) time() relay.Now {
	if !r.timed {
		r.now, r.timed = r.srv.now(), true
	}
	return r.now
}

// Packet implements udp.Handler.
func (r *round) Packet(s *udp.Socket, from netip.AddrPort, to netip.Addr, b []byte, seg int) {
	switch tag := s.Tag.(type) {
	case *relay.Socket:
		r.srv.table.HandlePeer(r.time(), tag, from, b, seg, &r.batch)
	case *dtlsListener:
		tag.packet(from, to, b, seg)
	default:
		if !to.IsValid() {
			to = s.Addr.Addr()
		}
		r.client = relay.Client{
			Addr: from, Local: netip.AddrPortFrom(to, s.Addr.Port()),
			Transport: relay.UDP, Via: s,
		}
		r.srv.table.HandleClient(r.time(), &r.client, b, seg, &r.batch)
	}
}

// ICMP implements udp.Handler.
func (r *round) ICMP(s *udp.Socket, peer netip.AddrPort, e udp.ICMP) {
	if tag, ok := s.Tag.(*relay.Socket); ok {
		r.srv.table.HandleICMP(r.time(), tag, peer, relay.ICMP{Type: e.Type, Code: e.Code, Data: e.Data}, &r.batch)
	}
}

// Flush implements udp.Handler: it carries the batch out. Opening a socket makes
// the table answer its client, so that is sent in the same round.
func (r *round) Flush() {
	b := &r.batch
	for sent := 0; sent < len(b.Sends) || r.opened < len(b.Opens); {
		r.send(b.Sends[sent:])
		sent = len(b.Sends)
		for r.opened < len(b.Opens) {
			o := b.Opens[r.opened]
			r.opened++
			r.srv.table.Opened(r.time(), o, r.open(o), b)
		}
	}
	r.finish()
	r.forget()
}

// finish does what is left when all is sent and opened.
func (r *round) finish() {
	r.wakeWriters()
	r.close(r.batch.Closes)
	clear(r.batch.Closes)
	r.batch.Closes = r.batch.Closes[:0]
	for r.told < len(r.batch.Events) {
		r.told++
		r.srv.tell(r.batch.Events[r.told-1])
	}
	for r.traced < len(r.batch.Traces) {
		r.traced++
		r.srv.trace(r.batch.Traces[r.traced-1])
	}
}

// forget empties the batch for the next one.
func (r *round) forget() {
	r.totals.Add(&r.batch.Counts)
	r.batch.Reset()
	r.timed = false
	r.opened, r.told, r.traced = 0, 0, 0
}

// Recovered implements udp.Handler: a panic costs what the batch was still to send.
// Sockets that were to be opened are told as failed, so that no port and no place of
// a quota is lost; those to be closed are, and events are told.
func (r *round) Recovered(v any) {
	r.srv.panicked(v)
	r.srv.contain(func() {
		for r.opened < len(r.batch.Opens) {
			r.opened++
			r.srv.table.Opened(r.time(), r.batch.Opens[r.opened-1], errPanicked, &r.batch)
		}
	})
	r.srv.contain(r.finish)
	r.forget()
}

// wakeWriters wakes each connection once per round, so that all it got leaves in
// one write.
func (r *round) wakeWriters() {
	for _, c := range r.woken {
		c.wakeWriter()
	}
	clear(r.woken)
	r.woken = r.woken[:0]
}

func (r *round) send(list []relay.Send) {
	for i := range list {
		m := &list[i]
		switch via := m.Via.(type) {
		case *udp.Socket:
			r.w.Send(via, udp.Message{
				To: m.To, From: m.From, Head: m.Head, Body: m.Body, Pad: m.Pad, DontFragment: m.DontFragment,
			})
		case *conn:
			if via.enqueue(m, &r.batch.Counts) {
				r.woken = append(r.woken, via)
			}
		}
	}
	r.w.Flush()
}

// open binds what the table asked for: all of it or nothing.
func (r *round) open(o relay.Open) error {
	for i, s := range o.Sockets {
		if s == nil {
			continue
		}
		sock, err := r.w.Open(s.Local, s)
		if err != nil {
			if i == 1 {
				r.close(o.Sockets[:1])
			}
			if errors.Is(err, udp.ErrTaken) {
				return fmt.Errorf("%v: %w", s.Local, relay.ErrPortTaken)
			}
			r.srv.sampled.warn("cannot open a relay socket", "addr", s.Local, "error", err)
			return err
		}
		s.Handle = sock
	}
	return nil
}

// close takes relay sockets away from the loop, which closes them when no writer
// can still hold them.
func (r *round) close(list []*relay.Socket) {
	for _, s := range list {
		if sock, ok := s.Handle.(*udp.Socket); ok {
			r.srv.loop.Remove(sock)
		}
	}
}

// rounds are the rounds that are not a worker's, kept for use again.
func (s *Server) takeRound() *round {
	s.mu.Lock()
	var r *round
	if n := len(s.idle); n > 0 {
		r, s.idle = s.idle[n-1], s.idle[:n-1]
	}
	s.mu.Unlock()
	if r == nil {
		r = s.newRound(s.loop.Writer())
	}
	r.w.Begin()
	return r
}

func (s *Server) putRound(r *round) {
	r.w.End()
	s.mu.Lock()
	s.idle = append(s.idle, r)
	s.mu.Unlock()
}

func (s *Server) newRound(w udp.Writer) *round {
	r := &round{srv: s, w: w}
	s.mu.Lock()
	s.rounds = append(s.rounds, r)
	s.mu.Unlock()
	return r
}

// do runs f in a round of its own and carries out what it decided. A panic of f is
// counted and goes no further; ok is false then.
func (s *Server) do(f func(*round)) (ok bool) {
	r := s.takeRound()
	defer s.putRound(r)
	defer func() {
		if v := recover(); v != nil {
			r.Recovered(v)
		}
	}()
	f(r)
	r.Flush()
	return true
}

// contain runs f; a panic of f is counted and goes no further.
func (s *Server) contain(f func()) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(v)
		}
	}()
	f()
}

// panicked counts and logs a recovered panic.
func (s *Server) panicked(v any) {
	s.panics.Add(1)
	s.sampled.warn("recovered from a panic", "panic", v, "stack", string(debug.Stack()))
}
