package diagnosis

import (
	"net/netip"

	"rtcd/creds"
	"rtcd/turnsrv/relay"
)

// Sighting is one thing that the relay saw of a check, as it crosses the wire. PROTOCOL.md
// says what each field means.
type Sighting struct {
	Type      string           `json:"type"` // always "trace"
	At        int64            `json:"at"`   // ms since the check began
	See       string           `json:"see"`  // what was seen
	N         *int             `json:"n,omitempty"`
	Transport string           `json:"transport,omitempty"`
	Port      uint16           `json:"port,omitempty"` // ours
	Client    *netip.AddrPort  `json:"client,omitempty"`
	Method    string           `json:"method,omitempty"`
	Code      int              `json:"code,omitempty"`
	Why       string           `json:"why,omitempty"`
	Late      int64            `json:"late,omitempty"` // seconds since the credential's end
	Peer      *netip.AddrPort  `json:"peer,omitempty"`
	Name      string           `json:"name,omitempty"`
	Relays    []netip.AddrPort `json:"relays,omitempty"`
	Sent      uint64           `json:"sent,omitempty"`
	Received  uint64           `json:"received,omitempty"`
	Lost      int              `json:"lost,omitempty"` // sightings before this one that did not fit
}

// What is seen besides the kinds of relay.Trace.
const (
	seeAllocated = "allocated"
	seeRelayed   = "relayed" // the first bytes of one direction
	seeClosed    = "closed"
)

// ofTrace puts a trace into the words of the wire.
func ofTrace(t relay.Trace, unix int64) Sighting {
	s := Sighting{
		See: t.Kind.String(), Transport: t.Transport.String(), Port: t.Local.Port(), Client: &t.Client,
		Method: t.Method, Code: t.Code, Why: t.Why, Name: clip(t.Name),
	}
	if t.Peer.IsValid() {
		s.Peer = &t.Peer
	}
	if t.Why == relay.WhyExpired {
		if expires, _, err := creds.ParseUsername(t.Username); err == nil {
			s.Late = unix - expires.Unix()
		}
	}
	return s
}

// ofAllocation is what is told of an allocation.
func ofAllocation(see, why string, i relay.Info) Sighting {
	return Sighting{
		See: see, Why: why, Transport: i.Transport.String(), Client: &i.Client, Relays: i.Relays,
		Sent: i.SentBytes, Received: i.ReceivedBytes,
	}
}

// clip bounds a name that a client may have made up.
func clip(name string) string { return name[:min(len(name), 255)] }
