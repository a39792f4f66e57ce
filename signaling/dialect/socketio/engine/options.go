package engine

import (
	"cmp"
	"net"
	"net/http"
	"time"
)

// Handler is what runs on one connection. Its methods are called one at a time.
type Handler interface {
	// Opened is the first call. What is sent here goes out right after the open packet.
	Opened(c *Conn)
	// Receive takes a message of the client. The data is the handler's. A connection
	// that has ended is not heard any more.
	Receive(data []byte, binary bool)
	// Closed is the last call.
	Closed()
}

// Options are fixed at birth. Zero means the default in parentheses.
type Options struct {
	// Accept admits a new connection or says why not; the connection may still fail, so
	// it has no effect. It may take its time to say no. It must be set.
	Accept func(r *http.Request) (Handler, error)
	// Origin says whether the page that asks may (any may).
	Origin func(r *http.Request) bool
	// Address is the client's (RemoteAddr's host).
	Address func(r *http.Request) string
	// Guard is deferred by each goroutine of a connection: it recovers from a panic, and then
	// calls end (it does nothing).
	Guard func(end func())

	PingInterval   time.Duration // (25 s)
	PingTimeout    time.Duration // (20 s)
	UpgradeTimeout time.Duration // from a WebSocket's begin to its 5 (10 s)
	WriteTimeout   time.Duration // for one flush, and for room in the queue (10 s)

	MaxPayload  int     // bytes of one POST or frame (1 MiB)
	Messages    float64 // taken of one connection in a second (50) …
	Burst       int     // … after so many at once (200)
	Bytes       float64 // taken of one connection in a second, after as many at once (1 MiB)
	Queue       int     // packets waiting before Send waits (64)
	QueueBytes  int     // bytes waiting before Send waits (64 KiB)
	Connections int     // at once (20,000)
	Handshakes  float64 // of one address in a second, after ten times as many at once (20)
}

func (o Options) withDefaults() Options {
	if o.Origin == nil {
		o.Origin = func(*http.Request) bool { return true }
	}
	if o.Address == nil {
		o.Address = remoteHost
	}
	if o.Guard == nil {
		o.Guard = func(func()) {}
	}
	o.PingInterval = cmp.Or(o.PingInterval, 25*time.Second)
	o.PingTimeout = cmp.Or(o.PingTimeout, 20*time.Second)
	o.UpgradeTimeout = cmp.Or(o.UpgradeTimeout, 10*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 10*time.Second)
	o.MaxPayload = cmp.Or(o.MaxPayload, 1<<20)
	o.Messages = cmp.Or(o.Messages, 50)
	o.Burst = cmp.Or(o.Burst, 200)
	o.Bytes = cmp.Or(o.Bytes, 1<<20)
	o.Queue = cmp.Or(o.Queue, 64)
	o.QueueBytes = cmp.Or(o.QueueBytes, 64<<10)
	o.Connections = cmp.Or(o.Connections, 20_000)
	o.Handshakes = cmp.Or(o.Handshakes, 20)
	return o
}

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
