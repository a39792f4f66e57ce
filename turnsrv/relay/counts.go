package relay

import (
	"strconv"
	"sync/atomic"
)

// Reason says why a packet went no further. It is the label of the metric of dropped packets.
type Reason uint8

// The reasons of the core, then those of the shell.
const (
	NotTURN        Reason = iota // neither STUN nor ChannelData
	Malformed                    // a length or an attribute that does not fit
	BadChecksum                  // FINGERPRINT does not match
	UnknownMethod                // a STUN method or class that a server is not sent
	NoAllocation                 // data from a client that has none, or whose allocation ended
	NoChannel                    // ChannelData on a number that is not bound
	NoPermission                 // data from or to a peer without permission
	PeerDenied                   // the policy refuses the peer
	OverBandwidth                // the allocation's bandwidth is used up
	OverPackets                  // the allocation's packet rate is used up
	OverBytes                    // the credential's bytes are used up
	TooLarge                     // does not fit a datagram or a ChannelData message
	RateLimited                  // an unauthenticated answer above the address's rate
	BindingLimited               // a Binding answer above the address's rate
	LoginLimited                 // a 401 to a wrong password above the address's rate
	Loop                         // a request that comes from one of our own relayed addresses
	Pending                      // a retransmission of a request that is being carried out
	QueueFull                    // the client reads too slowly and its queue is full
	WriteFailed                  // the kernel refused the send
	Overflow                     // the kernel's receive queue overflowed
	numReasons
)

var reasonNames = [numReasons]string{
	"not_turn", "malformed", "bad_checksum", "unknown_method", "no_allocation", "no_channel", "no_permission",
	"peer_denied", "over_bandwidth", "over_packets", "over_bytes", "too_large", "rate_limited", "binding_limited",
	"login_limited", "loop", "pending", "queue_full", "write_failed", "overflow",
}

func (r Reason) String() string { return reasonNames[r%numReasons] }

// Direction is the way of application data through an allocation.
type Direction uint8

// Sent goes from the client to its peers, Received the other way.
const (
	Sent Direction = iota
	Received
	numDirections
)

func (d Direction) String() string { return [...]string{"sent", "received"}[d%numDirections] }

// method is a STUN method that a server answers, as an index.
type method uint8

const (
	mBinding method = iota
	mAllocate
	mRefresh
	mCreatePermission
	mChannelBind
	numMethods
)

var methodNames = [numMethods]string{"binding", "allocate", "refresh", "create_permission", "channel_bind"}

// answerCodes are the outcomes of a request; 0 is success. The metric label of a
// code is its number.
var answerCodes = [...]int{0, 300, 400, 401, 403, 420, 437, 438, 440, 441, 442, 443, 486, 500, 508}

func codeIndex(code int) int {
	for i, c := range answerCodes {
		if c == code {
			return i
		}
	}
	return 0
}

// Counts are the counters of one batch: plain numbers, owned by the batch's
// goroutine. Bytes and packets are application data by the client's transport.
type Counts struct {
	Bytes   [numTransports][numDirections]uint64
	Packets [numTransports][numDirections]uint64
	Drops   [numReasons]uint64
	Answers [numMethods][len(answerCodes)]uint64

	Outcomes [numOutcomes]uint64
	touched  bool // Answers or Outcomes have something in them
}

// Lost takes a message to a client that the shell could not deliver out of what was
// relayed, in the same batch, and counts the drop.
func (c *Counts) Lost(tr Transport, m *Send, why Reason) {
	c.Drops[why]++
	if m.Body != nil {
		c.Bytes[tr][Received] -= uint64(len(m.Body))
		c.Packets[tr][Received]--
	}
}

func (c *Counts) reset() { *c = Counts{} }

func (c *Counts) answered(m method, code int) {
	c.Answers[m][codeIndex(code)]++
	c.touched = true
}

// Totals are counters that any goroutine may add to and read. One per worker,
// folded on read, keeps them off each other's cache lines.
type Totals struct {
	bytes   [numTransports][numDirections]atomic.Uint64
	packets [numTransports][numDirections]atomic.Uint64
	drops   [numReasons]atomic.Uint64
	answers [numMethods][len(answerCodes)]atomic.Uint64

	outcomes [numOutcomes]atomic.Uint64
}

// Add folds the counters of a batch in.
func (t *Totals) Add(c *Counts) {
	for tr := range c.Bytes {
		for d := range c.Bytes[tr] {
			if n := c.Packets[tr][d]; n != 0 {
				t.packets[tr][d].Add(n)
				t.bytes[tr][d].Add(c.Bytes[tr][d])
			}
		}
	}
	for r, n := range c.Drops {
		if n != 0 {
			t.drops[r].Add(n)
		}
	}
	if !c.touched {
		return
	}
	for o, n := range c.Outcomes {
		if n != 0 {
			t.outcomes[o].Add(n)
		}
	}
	for m := range c.Answers {
		for i, n := range c.Answers[m] {
			if n != 0 {
				t.answers[m][i].Add(n)
			}
		}
	}
}

// Drop counts one packet that the shell dropped.
func (t *Totals) Drop(r Reason, n uint64) { t.drops[r].Add(n) }

// Metric is one counter with its labels.
type Metric struct {
	Name   string // like "relayed_bytes", without prefix and "_total"
	Labels []Label
	Value  uint64
}

// Label is one name and value of a Metric; both come from fixed sets.
type Label struct{ Name, Value string }

// Each calls f for every counter. Requests that never came are left out.
func (t *Totals) Each(f func(Metric)) {
	for tr := range t.bytes {
		for d := range t.bytes[tr] {
			labels := []Label{{"transport", Transport(tr).String()}, {"direction", Direction(d).String()}}
			f(Metric{"relayed_bytes", labels, t.bytes[tr][d].Load()})
			f(Metric{"relayed_packets", labels, t.packets[tr][d].Load()})
		}
	}
	for r := range t.drops {
		f(Metric{"dropped_packets", []Label{{"reason", Reason(r).String()}}, t.drops[r].Load()})
	}
	for o := range t.outcomes {
		m := outcomeMetrics[o]
		m.Value = t.outcomes[o].Load()
		f(m)
	}
	for m := range t.answers {
		for i := range t.answers[m] {
			n := t.answers[m][i].Load()
			if n == 0 {
				continue
			}
			code := "ok"
			if answerCodes[i] != 0 {
				code = strconv.Itoa(answerCodes[i])
			}
			f(Metric{"requests", []Label{{"method", methodNames[m]}, {"code", code}}, n})
		}
	}
}
