package signaling

import "time"

// receive takes one message of the native protocol that came over l and took so many
// bytes there. It says whether l is still the session's link. It keeps nothing of data. A lone turn
// goes to row, if that is not nil.
func (s *Session) receive(now time.Time, l *link, data []byte, size int, row *[]turn) bool {
	s.recv.Lock()
	defer s.recv.Unlock()
	m, err := ParseMessage(data)
	s.mu.Lock()
	if s.over || s.link != l {
		s.mu.Unlock()
		return false
	}
	s.heard = true
	if m.Seq > 0 {
		s.out.ack(m.Seq)
	}
	s.mu.Unlock()
	if m.Type != TypePing && m.Type != TypeHello {
		s.got++
	}
	switch {
	case !s.rate.take(now, s.hub.o.Limits.messages()), !s.bytes.spend(now, s.hub.o.Limits.bytes(), size):
		s.overRate(now, &m)
	case err != nil:
		s.hub.metrics.received.WithLabelValues("bad").Inc()
		s.tell(errorEvent(&m, err), true)
	case !s.hub.strips(&m):
		s.hub.metrics.verb(m.Type).Inc()
		if m.ID != nil {
			s.tell(&Event{Type: TypeOK, Re: m.ID}, true)
		}
	default:
		s.hub.metrics.verb(m.Type).Inc()
		others := s.take(now, &m, row)
		s.bytes.charge(max(0, others-1) * len(data)) // the first is paid
	}
	return true
}

// overRate refuses a message, and ends the session of one that goes on.
func (s *Session) overRate(now time.Time, m *Message) {
	if !s.mercy.take(now, s.hub.o.Limits.mercy()) {
		s.expel(ReasonLimits, CloseRate, "too many messages", false, true)
		return
	}
	s.tell(errorEvent(m, refuse(CodeRate, "too many messages")), true)
}

// take carries out a message and returns how many events it made for others; s.recv is
// held.
func (s *Session) take(now time.Time, m *Message, row *[]turn) (others int) {
	switch m.Type {
	case TypeHello:
		s.expel(ReasonLimits, CloseProtocol, "a second hello", false, false)
	case TypePing:
		s.tell(&Event{Type: TypePong, Re: m.ID, Got: s.got}, false)
	case TypeICE:
		s.ice(now, m)
	default:
		joined := ""
		s.in.doIn(row, now, func(t *Tenant, out []Delivery) []Delivery {
			if m.Type == TypeJoin && !s.purse.affords(now) {
				return append(out, Delivery{To: s.member, Event: errorEvent(m, refuse(CodeRate, "left and joined too often: once a minute from now on"))})
			}
			before := len(out)
			out = t.Apply(now, s.member, m, out)
			for _, d := range out[before:] {
				switch {
				case d.Event == nil:
				case d.To != s.member:
					others++
				case d.Event.Type == TypeJoined:
					joined = d.Event.Room
				}
			}
			return out
		})
		switch {
		case joined != "":
			s.logRoom("joined", joined)
		case m.Type == TypeLeave && m.Peer == "":
			s.logRoom("left", m.Room)
		}
	}
	return others
}

// ice answers with credentials, which only a member of a room gets.
func (s *Session) ice(now time.Time, m *Message) {
	member := true
	s.in.do(now, func(t *Tenant, out []Delivery) []Delivery {
		if member = t.serves(s.member); member {
			s.pushICE(now, m.ID)
		}
		return out
	})
	if !member {
		s.tell(errorEvent(m, refuse(CodeForbidden, "credentials go to members of a room")), true)
	}
}
