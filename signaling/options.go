package signaling

import (
	"cmp"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/creds"
)

// Limits are the hub's bounds; zero means the default in parentheses.
type Limits struct {
	MessageBytes  int     // of one text frame (64 KiB)
	Rate          float64 // messages a second (50) …
	Burst         int     // … after so many at once (200)
	ByteRate      int     // bytes a second, counted for each receiver (1 MiB) …
	ByteBurst     int     // … after so many at once (4 MiB)
	Queue         int     // frames waiting for one member (256)
	QueueBytes    int     // bytes waiting for one member (1 MiB)
	Rooms         int     // of one session (32)
	Members       int     // of one room (50)
	PresenceBytes int     // of presence data (1 KiB)

	Sessions         int           // of this node, and as many sockets that said no hello yet (65,536)
	SessionsPerIP    int           // of one address or /64 (an eighth of Sessions, at least 64)
	StrangersPerIP   int           // sockets of one address or /64 that said no hello yet (1,024, at most SessionsPerIP)
	FailuresPerIP    int           // hellos of one address or /64 that are refused without delay … (10)
	FailuresForgiven time.Duration // … in such a time (30 min)
}

func (l Limits) withDefaults() Limits {
	sessions := cmp.Or(l.Sessions, 1<<16)
	perIP := cmp.Or(l.SessionsPerIP, min(sessions, max(64, sessions/8)))
	return Limits{
		MessageBytes:  cmp.Or(l.MessageBytes, 64<<10),
		Rate:          cmp.Or(l.Rate, 50),
		Burst:         cmp.Or(l.Burst, 200),
		Queue:         cmp.Or(l.Queue, 256),
		QueueBytes:    cmp.Or(l.QueueBytes, 1<<20),
		Rooms:         cmp.Or(l.Rooms, 32),
		Members:       cmp.Or(l.Members, 50),
		PresenceBytes: cmp.Or(l.PresenceBytes, 1<<10),
		ByteRate:      cmp.Or(l.ByteRate, 1<<20),
		ByteBurst:     cmp.Or(l.ByteBurst, 4<<20),

		Sessions:         sessions,
		SessionsPerIP:    perIP,
		StrangersPerIP:   cmp.Or(l.StrangersPerIP, min(perIP, 1024)),
		FailuresPerIP:    cmp.Or(l.FailuresPerIP, 10),
		FailuresForgiven: cmp.Or(l.FailuresForgiven, 30*time.Minute),
	}
}

// Auth checks join tokens; *creds.Tokens does it.
type Auth interface {
	// Verify returns what the token says, or why it is worth nothing at now.
	Verify(token string, now time.Time) (creds.Claims, error)
}

// Options are fixed at birth. Zero means the default in parentheses.
type Options struct {
	// Auth checks join tokens. It may only be missing if Open is set.
	Auth Auth
	// Open admits everybody without a token (`auth: none`).
	Open bool
	// Origins lists the pages that may connect: "self", "*",
	// "https://app.example.com", "https://*.example.com" ("self").
	Origins []string
	// ICE mints and revokes relay credentials (nobody gets any).
	ICE ICE
	// Key is the master key from which the key of resume tokens is derived (random:
	// no session outlives the process anyway).
	Key []byte
	// Bus joins the nodes of a cluster (this node alone).
	Bus Bus

	// StripHostCandidates keeps private addresses in the candidates and descriptions of
	// native signals back (they are passed on).
	StripHostCandidates bool

	Limits       Limits
	Keep         time.Duration // a lost session's time to resume (30 s)
	HelloTimeout time.Duration // from the upgrade to hello (10 s)
	PingEvery    time.Duration // between WebSocket pings (25 s)
	DeadAfter    time.Duration // of silence (60 s)
	WriteTimeout time.Duration // for one flush (10 s)

	Server  string                       // the hub's name in welcome ("rtcd")
	Address func(r *http.Request) string // the client's address, for bans and logs (RemoteAddr's host)
	Log     *slog.Logger                 // (discarded)
	Metrics prometheus.Registerer        // (not registered)

	idleAfter time.Duration // of silence until a socket is parked (2 s)
}

func (o Options) withDefaults() (Options, error) {
	if o.Auth == nil && !o.Open {
		return o, errors.New("signaling: no way to check tokens, and not open to everybody")
	}
	if o.Origins == nil {
		o.Origins = []string{"self"}
	}
	if o.Key == nil {
		o.Key = make([]byte, 32)
		rand.Read(o.Key)
	}
	if o.Bus == nil {
		o.Bus = NewLocalBus()
	}
	o.Limits = o.Limits.withDefaults()
	o.Keep = cmp.Or(o.Keep, 30*time.Second)
	o.HelloTimeout = cmp.Or(o.HelloTimeout, 10*time.Second)
	o.PingEvery = cmp.Or(o.PingEvery, 25*time.Second)
	o.DeadAfter = cmp.Or(o.DeadAfter, 60*time.Second)
	o.idleAfter = cmp.Or(o.idleAfter, 2*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 10*time.Second)
	o.Server = cmp.Or(o.Server, "rtcd")
	if o.Address == nil {
		o.Address = remoteHost
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
