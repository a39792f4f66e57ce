package accounting

import (
	"net/netip"
	"time"
)

// Kind says what a record tells.
type Kind string

// The records of an allocation's life.
const (
	Start   Kind = "start"
	Interim Kind = "interim" // every so often, if anything was relayed since the last one
	Stop    Kind = "stop"
)

// Record is one line of the books. Its JSON is a contract: names stay, more may come.
type Record struct {
	Event Kind      `json:"event"`
	Time  time.Time `json:"time"` // when it was made, in UTC

	// ID is the allocation's, unlike any other of this or another process; Allocation is
	// its number in this process, as logs and commands tell it.
	ID         string `json:"id"`
	Allocation uint64 `json:"allocation"`

	User  string `json:"user,omitempty"` // the user part of the TURN username; of a member its id
	Place        // of the member, if the hub knows one of that name

	Client    netip.AddrPort   `json:"client"`
	Transport string           `json:"transport"` // udp, tcp, tls or dtls
	Relay     []netip.AddrPort `json:"relay"`     // relayed addresses, as peers see them

	Started  time.Time `json:"started"`
	Duration float64   `json:"duration"` // seconds until Time

	Peers int `json:"peers"` // how many it was permitted, each as often as anew

	// Application data, without TURN framing.
	SentBytes       uint64 `json:"sent_bytes"` // client to peers
	SentPackets     uint64 `json:"sent_packets"`
	ReceivedBytes   uint64 `json:"received_bytes"`
	ReceivedPackets uint64 `json:"received_packets"`

	Reason string `json:"reason,omitempty"` // of a stop
}

// Place is where a member of the hub is.
type Place struct {
	Member string   `json:"member,omitempty"` // its id
	Name   string   `json:"name,omitempty"`   // that it goes by; others may have the same
	Tenant string   `json:"tenant,omitempty"`
	Rooms  []string `json:"rooms,omitempty"`
}

// relayed is how much has gone either way.
func (r *Record) relayed() uint64 { return r.SentPackets + r.ReceivedPackets }
