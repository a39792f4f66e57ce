package udp

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"
)

// MaxPayload is the largest payload of a UDP datagram over IPv4, in bytes.
const MaxPayload = 65507

// MaxCoalesce is the longest Options.Coalesce.
const MaxCoalesce = 200 * time.Microsecond

// ErrTaken is wrapped by the errors of Listen and Open when another socket has the
// address.
var ErrTaken = errors.New("address already in use")

// ErrClosed is returned by Listen and Open of a loop that has ended.
var ErrClosed = errors.New("loop closed")

// Options are fixed at the birth of a Loop; zero values mean the defaults.
type Options struct {
	Workers int          // goroutines that read, each with a socket per listener; default GOMAXPROCS
	Plain   bool         // one goroutine per socket and one call per datagram, even on Linux
	NoGRO   bool         // do not let the kernel join received datagrams
	NoGSO   bool         // do not let the kernel split what is sent
	Logger  *slog.Logger // default slog.Default()

	// Coalesce is how long a worker may pause, under moderate load, after it has
	// read all there was: the datagrams of the pause are then read and written
	// together, which costs less CPU and up to that much latency. At most
	// MaxCoalesce; 0 = never. Only the Linux loop pauses.
	Coalesce time.Duration

	// Bind makes sockets in place of this machine's, for tests; it implies Plain.
	Bind func(netip.AddrPort) (Conn, error)
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Coalesce = min(max(o.Coalesce, 0), MaxCoalesce)
	if o.Bind != nil {
		o.Plain = true
	}
	return o
}

// New returns a Loop without sockets.
func New(o Options) (Loop, error) {
	o = o.withDefaults()
	if o.Plain {
		return newPlain(o), nil
	}
	return newFast(o)
}

// Loop owns UDP sockets and the goroutines that read them. All methods may be
// called from any goroutine.
type Loop interface {
	// Listen binds a socket for clients: large buffers, one descriptor per worker,
	// and on a wildcard address every datagram comes with the address it was sent
	// to. Port 0 chooses a free one. Read from when Run runs.
	Listen(addr netip.AddrPort, tag any) (*Socket, error)

	// Remove ends the reading of a socket and closes it once no batch can still
	// hold it.
	Remove(s *Socket)

	// Writer returns a new Writer for the use of one goroutine at a time. The loop
	// knows it for ever: keep writers for use again.
	Writer() Writer

	// Run reads until ctx is done. It calls newHandler as often as it has
	// goroutines that handle at once. A panic of a Handler ends its batch, not the
	// loop.
	Run(ctx context.Context, newHandler func(Writer) Handler) error

	// Close closes the sockets of a loop that is not going to Run.
	Close()

	// Stats returns the sums of what was read and written since the start.
	Stats() Stats
}

// Handler takes what one goroutine of a loop reads.
type Handler interface {
	// Packet takes one datagram (seg 0), or several of seg bytes each of which the
	// last may be shorter, that came from one address to one address of ours
	// (invalid if unknown). A link-local from has its zone on sockets of Listen. b is
	// left alone until Flush has returned.
	Packet(s *Socket, from netip.AddrPort, to netip.Addr, b []byte, seg int)

	// ICMP takes an ICMP error about a datagram that s sent to peer.
	ICMP(s *Socket, peer netip.AddrPort, e ICMP)

	// Flush ends the batch: it sends what the packets gave rise to.
	Flush()

	// Recovered tells that Packet, ICMP or Flush panicked with v; the batch is
	// to be forgotten.
	Recovered(v any)
}

// Writer collects datagrams and writes them in batches.
type Writer interface {
	// Begin opens a batch; a handler's own writer is in one already.
	Begin()
	// Send takes one datagram: head, body and padding, of which the slices stay the caller's and
	// must not change until Flush. Errors are counted, and never tell the caller.
	Send(s *Socket, m Message)
	// Flush writes what was taken.
	Flush()
	// End closes a batch, forgetting what was not flushed.
	End()
	// Open binds a socket for one relayed address and reads it from now on.
	Open(addr netip.AddrPort, tag any) (*Socket, error)
}

// Message is one datagram to send.
type Message struct {
	To           netip.AddrPort
	From         netip.Addr // address of ours to send from, on wildcard sockets; invalid = any
	Head, Body   []byte
	Pad          uint8 // zero bytes after Body, at most 3
	DontFragment bool  // set the DF bit, where the system can
}

// ICMP is an ICMP or ICMPv6 error.
type ICMP struct {
	Type, Code uint8
	Data       uint32 // the MTU of "fragmentation needed" and "packet too big", else 0
}

// Socket is one bound UDP address.
type Socket struct {
	Addr netip.AddrPort // where it is bound
	Tag  any            // the opener's

	wildcard bool // bound to every address of its family
	listener bool // for clients
	conn     Conn // of the plain loop
	fast     fastSocket
}

// Conn is a socket of the plain loop.
type Conn interface {
	// Read takes one datagram; to is the address of ours that it was sent to,
	// invalid if unknown. It blocks until there is one or the Conn is closed.
	Read(b []byte) (n int, from netip.AddrPort, to netip.Addr, err error)
	// Write sends one datagram, from the given address of ours if it is valid.
	Write(b []byte, to netip.AddrPort, from netip.Addr) error
	Local() netip.AddrPort
	Close() error
}

// Stats are sums over the life of a loop.
type Stats struct {
	ReadCalls, ReadPackets   uint64 // calls that read something, and datagrams in them
	GROPackets               uint64 // of those, datagrams that came joined with others
	WriteCalls, WritePackets uint64 // calls that wrote something, and datagrams in them
	GSOPackets               uint64 // of those, datagrams that left joined with others

	Overflows   uint64 // datagrams that the kernel dropped since a listener was not read in time
	Full        uint64 // datagrams not sent: no room in the kernel
	Unreachable uint64 // datagrams not sent: no route, or refused by a firewall
	TooBig      uint64 // datagrams not sent: larger than what the path or the socket takes
	Failed      uint64 // datagrams not sent for other reasons
}

// counters are Stats being counted by one goroutine and read by others.
type counters struct {
	readCalls, readPackets, groPackets    atomic.Uint64
	writeCalls, writePackets, gsoPackets  atomic.Uint64
	overflows, full, unreach, big, failed atomic.Uint64

	_ [64]byte // neighbours write theirs
}

func (c *counters) addTo(s *Stats) {
	s.ReadCalls += c.readCalls.Load()
	s.ReadPackets += c.readPackets.Load()
	s.GROPackets += c.groPackets.Load()
	s.WriteCalls += c.writeCalls.Load()
	s.WritePackets += c.writePackets.Load()
	s.GSOPackets += c.gsoPackets.Load()
	s.Overflows += c.overflows.Load()
	s.Full += c.full.Load()
	s.Unreachable += c.unreach.Load()
	s.TooBig += c.big.Load()
	s.Failed += c.failed.Load()
}
