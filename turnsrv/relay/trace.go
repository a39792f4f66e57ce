package relay

import (
	"net/netip"
	"sync"
)

// TraceKind says what a Trace tells.
type TraceKind uint8

// What the core sees of a check, then what the shell does.
const (
	TraceBound      TraceKind = iota + 1 // a Binding was answered
	TraceChallenged                      // a request without credentials was answered with 401, as the first one is
	TraceRefused                         // Code and Why
	TraceSilenced                        // not answered, for the limit in Why
	TracePermitted                       // Peer may be sent to
	TraceConnected                       // a connection was accepted
	TraceSecured                         // its TLS handshake is done; Why is the version, Name the server's
	TraceTLSFailed                       // it failed; Why is the alert or the error, Name the server's
	TraceEnded                           // the connection was ended by us, for Why
)

func (k TraceKind) String() string {
	names := [...]string{"", "bound", "challenged", "refused", "silenced", "permitted", "connected", "secured", "tls-failed", "ended"}
	return names[int(k)%len(names)]
}

// Trace is one thing that happened to a client that is being checked: one whose user
// Keys marks as Traced, or one without a name yet from an address of SetWatch. Nobody
// else has any.
type Trace struct {
	Kind      TraceKind
	Username  string // as claimed; "" before there is one
	Client    netip.AddrPort
	Local     netip.AddrPort // our address that the client sent to
	Transport Transport
	Method    string         // of the request: binding, allocate, …
	Code      int            // of the answer
	Why       string         // a word of a fixed set, or the policy's rule
	Peer      netip.AddrPort // that was permitted or refused
	Name      string         // the server name of TLS
}

// Why a login was refused with 401.
const (
	WhyRealm         = "wrong_realm"
	WhyUnknown       = "malformed" // not a username of ours
	WhyWrongPassword = "bad_password"
	WhyExpired       = "expired" // and the password was right
	WhyRevoked       = "revoked"
)

// Why else a request was refused; quotas are named as in the metrics.
const (
	WhyPorts    = "ports"
	WhyDraining = "draining"
	WhyStale    = "stale_nonce"
	WhyFamily   = "family"
)

// SetWatch replaces the addresses whose clients are traced before they have a name:
// those of running checks. An IPv6 address stands for its /64.
func (t *Table) SetWatch(addrs []netip.Addr) {
	if len(addrs) == 0 {
		t.watch.Store(nil)
		return
	}
	set := make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		set[host(a)] = struct{}{}
	}
	t.watch.Store(&set)
}

// Watched reports whether clients at addr are traced before they have a name.
func (t *Table) Watched(addr netip.Addr) bool {
	set := t.watch.Load()
	if set == nil {
		return false
	}
	_, ok := (*set)[host(addr)]
	return ok
}

// label is the outcome as metrics and traces name it.
func (o Outcome) label() string { return outcomeMetrics[o].Labels[0].Value }

// trace tells of a request, if its client is being checked.
func (t *Table) trace(r *request, k TraceKind, code int, why string, peer netip.AddrPort) {
	if !t.traces(r) {
		return
	}
	r.batch.Traces = append(r.batch.Traces, Trace{
		Kind: k, Username: r.username, Client: r.client.Addr, Local: r.client.Local, Transport: r.client.Transport,
		Method: methodNames[r.method], Code: code, Why: why, Peer: peer,
	})
}

// traces reports whether a request's client is being checked. Who names a user is
// judged by that alone: others at the same address are nobody's business.
func (t *Table) traces(r *request) bool {
	if r.username != "" {
		return r.login.Traced
	}
	return t.Watched(r.client.Addr.Addr())
}

// whyRefused says what is wrong with the credentials of a request that is traced. The
// passwords of an expired username are tried too: a clock is mended otherwise than a
// secret.
func (t *Table) whyRefused(r *request, realm string, alg uint16) string {
	if r.login.Verdict == Unknown {
		r.login = t.keys.Lookup(r.username, r.now.Unix) // it has not got that far
	}
	switch {
	case !r.login.Traced:
		return ""
	case realm != t.realm:
		return WhyRealm
	case r.login.Verdict == Unknown:
		return WhyUnknown
	case r.login.Verdict == Revoked:
		return WhyRevoked
	}
	for _, password := range r.login.Passwords {
		if r.msg.signedBy(longTermKey(alg, r.username, t.realm, password)) {
			return WhyExpired
		}
	}
	return WhyWrongPassword
}

// tracedAllocations are those whose users are traced: few, and for a minute or two.
type tracedAllocations struct {
	mu  sync.Mutex // guards set
	set map[*allocation]struct{}
}

func (s *tracedAllocations) add(a *allocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = map[*allocation]struct{}{}
	}
	s.set[a] = struct{}{}
}

func (s *tracedAllocations) remove(a *allocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, a)
}

// Traced is a snapshot of the live allocations of traced users, in no order. What they
// relay is looked up here, so that the data path need not tell.
func (t *Table) Traced() []Info {
	t.traced.mu.Lock()
	defer t.traced.mu.Unlock()
	out := make([]Info, 0, len(t.traced.set))
	for a := range t.traced.set {
		if a.expires.Load() != 0 { // else it is pending
			out = append(out, a.info())
		}
	}
	return out
}

// rule names what in the policy stands against a peer that it has refused: as the
// metrics do, and of a list the entry.
func (p *policy) rule(peer netip.AddrPort, relayOnly bool) string {
	why := p.whyNot(peer, relayOnly && !p.isRelayIP(peer.Addr()))
	if why != DeniedList {
		return why.label()
	}
	forms, n := formsOf(peer.Addr())
	for _, a := range forms[:n] {
		for _, d := range p.Deny {
			if d.Contains(a) {
				return why.label() + " " + d.String()
			}
		}
	}
	return why.label()
}

// refuseWhy is refuse with the reason and the peer for a trace.
func (t *Table) refuseWhy(r *request, code int, why string, peer netip.AddrPort) {
	if t.maySpeak(r, unauthenticated, r.policy.Limits.Unauthenticated, RateLimited) {
		t.trace(r, TraceRefused, code, why, peer)
		r.answer(r.errorMessage(code), code)
	}
}
