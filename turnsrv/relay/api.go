package relay

import (
	"errors"
	"io"
	"net/netip"
	"time"
)

// Now is the time of one call.
type Now struct {
	Mono time.Duration // monotonic time since any fixed start: lifetimes go by it
	Unix int64         // seconds since 1970: credential expiry and nonces go by it
}

// Transport is what a client speaks TURN over.
type Transport uint8

// The transports of RFC 8656 section 3.1.
const (
	UDP Transport = iota
	TCP
	TLS
	DTLS
	numTransports
)

// String returns the name that metrics and logs use.
func (t Transport) String() string { return [...]string{"udp", "tcp", "tls", "dtls"}[t%numTransports] }

// Stream reports whether messages follow each other on a byte stream, where
// ChannelData is padded to four bytes (RFC 8656 section 12.5).
func (t Transport) Stream() bool { return t == TCP || t == TLS }

// Client is one client endpoint: the 5-tuple of RFC 8656 and the way to write to
// it. A connection (TCP, TLS, DTLS) has one Client for its whole life and its
// identity is the pointer; for UDP the shell fills in a scratch Client for each
// read, and the addresses identify it.
type Client struct {
	Addr      netip.AddrPort // the client's address, unmapped
	Local     netip.AddrPort // our address that the client sent to, unmapped
	Transport Transport
	Via       any // the shell's handle to write with; copied into every Send to this client

	conn *connection // state of a connected client, nil for UDP
}

// Socket is one relayed transport address, from Open to Close.
type Socket struct {
	Local  netip.AddrPort // what to bind
	Public netip.AddrPort // what clients and peers are told
	Handle any            // the shell's; it sets it before Table.Opened and alone reads it back in Send.Via

	state socketState
}

// Send is one message to write. Consecutive sends of a batch with equal Via and To
// and equal length may leave as one segmented datagram.
type Send struct {
	Via  any            // Client.Via, or Socket.Handle
	To   netip.AddrPort // the client's or the peer's address
	From netip.Addr     // client sends: the address of ours to answer from

	// The message is Head, then Body, then Pad zero bytes (Pad is 0 but for
	// ChannelData to a stream). Either slice may be empty.
	Head, Body []byte
	Pad        uint8

	DontFragment bool // peer sends: set the DF bit (RFC 8656 section 11.2)
}

// Open asks for one relay socket, or for a pair on adjacent ports. The shell binds
// Sockets[0].Local (and Sockets[1].Local where it is not nil), sets their Handles
// and calls Table.Opened with the same value. All or nothing: when one fails, the
// shell closes the other.
type Open struct {
	Sockets [2]*Socket
	pending *pending
}

// ErrPortTaken is what the shell's error to Table.Opened must wrap when the port
// is in use by another program; the core then tries the next one.
var ErrPortTaken = errors.New("relay port in use")

// EventKind says what happened to an allocation.
type EventKind uint8

// The events of an allocation's life.
const (
	Allocated EventKind = iota + 1
	Refreshed
	Closed
)

func (k EventKind) String() string {
	return [...]string{"", "allocated", "refreshed", "closed"}[k%4]
}

// Event tells one step in the life of an allocation.
type Event struct {
	Kind   EventKind
	Reason string // Closed: refreshed to zero ("released"), "expired", "disconnected", or the reason given to Kill
	Info   Info
}

// Info is a snapshot of one allocation.
type Info struct {
	ID        uint64 // counts from 1 over the life of the Table
	Username  string // the whole TURN username
	User      string // its user part, "" if it has none
	Client    netip.AddrPort
	Transport Transport
	Relays    []netip.AddrPort // relayed transport addresses, one per family
	Created   time.Duration    // Now.Mono of its Allocate
	Expires   time.Duration    // Now.Mono at which it ends unless refreshed

	Permissions, Channels int
	Peers                 int // permissions made for addresses that had none, in all

	// Application data relayed, without TURN framing.
	SentBytes, SentPackets         uint64 // client to peers
	ReceivedBytes, ReceivedPackets uint64 // peers to client
}

// Verdict says what a username is worth.
type Verdict uint8

// The verdicts of Keys.Lookup.
const (
	Unknown Verdict = iota // no such user, or not of the grammar: 401
	Valid                  // may create allocations
	Expired                // was valid: keeps what it has, creates nothing new
	Revoked                // was valid, put out: 401 to everything
)

// Login is what Keys knows of a username.
type Login struct {
	Verdict   Verdict
	Passwords []string // that it may have, most likely first (secrets rotate)
	User      string   // for the quota per user; "" means no such quota
	RelayOnly bool     // only relayed addresses of this server are admitted as peers
	Traced    bool     // what happens to it is told in Batch.Traces
	Exempt    bool     // from the quotas of allocations: the server's own user
	MaxBytes  int64    // application data, both directions together, that one allocation may relay; 0 = unlimited
}

// Keys is what the core needs of the credentials. Both methods may be called from
// any goroutine.
type Keys interface {
	// Lookup judges a username at a time in Unix seconds.
	Lookup(username string, unix int64) Login
	// Username finds the username whose USERHASH (RFC 8489 section 14.4) is hash.
	Username(hash [32]byte) (username string, ok bool)
}

// MaxRealm is the longest realm in bytes. With it an answer to a stranger, which has to
// carry it, stays within 160 bytes: what asks for it over UDP may be forged.
const MaxRealm = 56

// Options are fixed at the birth of a Table.
type Options struct {
	Realm    string    // 1 to MaxRealm bytes
	Keys     Keys      // must not be nil
	NonceKey []byte    // at least 16 bytes; the same key lets nonces outlive a restart
	Rand     io.Reader // ports and reservation tokens; nil means crypto/rand.Reader
	Policy   Policy    // what SetPolicy may change later
}
