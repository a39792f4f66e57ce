package turnsrv

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rtcd/turnsrv/relay"
	"rtcd/turnsrv/udp"
)

// Server is one TURN server. All methods may be called from any goroutine.
type Server struct {
	opt     Options
	table   *relay.Table
	loop    udp.Loop
	start   time.Time // zero of relay.Now.Mono
	gates   [2]gate   // of TCP and TLS, and of DTLS: see gate
	sampled sampler

	listening bool // Listen was called; before Run only
	streams   []*streamListener
	bound     []bound

	tasks sync.WaitGroup // every goroutine of Run

	policyMu sync.Mutex // guards policy and draining
	policy   relay.Policy
	draining bool

	mu      sync.Mutex // guards all below
	closing bool
	conns   map[*conn]struct{}
	proxied map[net.Conn]struct{} // that wait for what a proxy says
	idle    []*round              // see takeRound
	rounds  []*round              // all, for their totals

	shellDrops   relay.Totals // drops outside any round
	ends         ends
	lives        lives
	refused      sync.Map // reason → *atomic.Uint64
	acceptErrors atomic.Uint64
	panics       atomic.Uint64
}

// bound is one address that the server has.
type bound struct {
	transport relay.Transport
	addr      netip.AddrPort
}

// New returns a Server that has bound nothing yet. It fails on options that cannot
// work.
func New(o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	loop, err := udp.New(o.UDP)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opt: o, loop: loop, start: time.Now(), policy: o.Policy,
		gates:   [2]gate{{limits: o.Limits}, {limits: o.Limits}},
		sampled: sampler{log: o.Logger},
		conns:   map[*conn]struct{}{}, proxied: map[net.Conn]struct{}{}, lives: newLives(),
	}
	s.table, err = relay.NewTable(relay.Options{
		Realm: o.Realm, Keys: ownKeys{o.Keys, o.Own}, NonceKey: o.NonceKey, Policy: o.Policy,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// now is the time, as the table wants it.
func (s *Server) now() relay.Now {
	t := time.Now()
	return relay.Now{Mono: t.Sub(s.start), Unix: t.Unix()}
}

// Run serves until ctx is done, listening first if Listen was not called. It
// returns when all goroutines have ended: nil after ctx, otherwise what made
// serving impossible.
func (s *Server) Run(ctx context.Context) error {
	if !s.listening {
		if err := s.Listen(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var loopErr error
	loopCtx, stopLoop := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoop()
	loopDone := make(chan struct{})
	// Run owns the loop; stopLoop ends it.
	go func() {
		defer close(loopDone)
		defer cancel()
		loopErr = s.loop.Run(loopCtx, func(w udp.Writer) udp.Handler { return s.newRound(w) })
	}()
	for _, l := range s.streams {
		// Run owns the accepting; the closing of the listener ends it.
		s.tasks.Go(func() { s.accept(l) })
	}
	// Run owns the clock; ctx ends it.
	s.tasks.Go(func() { s.tick(ctx) })

	<-ctx.Done()
	s.shutdown()
	s.tasks.Wait()
	stopLoop()
	<-loopDone
	return loopErr
}

// shutdown ends every allocation, so that its last event tells the byte counts, and
// then every connection.
func (s *Server) shutdown() {
	s.Drain(true)
	for _, l := range s.streams {
		l.ln.Close()
	}
	for _, a := range s.table.Allocations() {
		s.Kill(a.ID, "shutdown")
	}
	s.mu.Lock()
	s.closing = true
	for nc := range s.proxied {
		nc.Close()
	}
	list := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		list = append(list, c)
	}
	s.mu.Unlock()
	for _, c := range list {
		c.close()
	}
}

// tick drives the lifetimes, tells what the limits refuse, and looks now and then
// whether the machine has got another address.
func (s *Server) tick(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var refused map[string]uint64
	for n := 1; ; n++ {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		s.do(func(r *round) { s.table.Tick(r.time(), &r.batch) })
		if n%10 == 0 {
			s.contain(func() { refused = s.tellRefused(refused) })
		}
		if n%60 == 0 {
			s.contain(s.refreshOwnAddrs)
		}
	}
}

// gate returns the gate of a transport. DTLS has its own: the source of its first
// datagrams can be forged, and forgeries must not shut TCP and TLS out.
func (s *Server) gate(t relay.Transport) *gate {
	if t == relay.DTLS {
		return &s.gates[1]
	}
	return &s.gates[0]
}

// keepConn registers a connection and serves it, on a goroutine that Run waits for;
// false means that the server is ending.
func (s *Server) keepConn(c *conn, serve func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.conns[c] = struct{}{}
	s.tasks.Go(serve) // under the lock, so that Run waits for it or closing was seen
	return true
}

func (s *Server) dropConn(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// tell passes an event on.
func (s *Server) tell(e relay.Event) {
	if e.Kind == relay.Closed {
		s.lives.ended(s.now(), &e)
	}
	if s.opt.OnEvent != nil && (s.opt.Own == "" || e.Info.User != s.opt.Own) {
		s.opt.OnEvent(e)
	}
}

// SetPolicy replaces the policy at once: a flow that it denies stops with its next
// packet. The listeners' and the machine's own addresses are added to Own and
// OwnAddrs, and Draining stays as Drain set it.
func (s *Server) SetPolicy(p relay.Policy) {
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	s.policy = p
	s.applyPolicyLocked(ownAddrs())
}

// Drain makes the server refuse new allocations, or take them again. Live
// allocations and Binding go on.
func (s *Server) Drain(on bool) {
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	s.draining = on
	s.applyPolicyLocked(ownAddrs())
}

func (s *Server) applyPolicyLocked(machine []netip.Addr) {
	p := s.policy
	p.Own = slices.Clone(p.Own)
	for _, b := range s.bound {
		p.Own = append(p.Own, netip.AddrPortFrom(b.addr.Addr().WithZone(""), b.addr.Port())) // peers have no zone
	}
	p.OwnAddrs = append(slices.Clone(p.OwnAddrs), machine...)
	for _, r := range p.Relays {
		p.OwnAddrs = append(p.OwnAddrs, r.Local, r.Public)
	}
	p.Draining = p.Draining || s.draining
	s.table.SetPolicy(p)
}

// refreshOwnAddrs applies the policy again when the machine's addresses changed.
func (s *Server) refreshOwnAddrs() {
	machine := ownAddrs()
	have := s.table.Policy().OwnAddrs
	for _, a := range machine {
		if !slices.Contains(have, a) {
			s.policyMu.Lock()
			s.applyPolicyLocked(machine)
			s.policyMu.Unlock()
			return
		}
	}
}

// ownAddrs returns the addresses of the machine's interfaces, unmapped.
func ownAddrs() []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap().WithZone(""))
		}
	}
	return out
}

// Kill ends one allocation, by its Info.ID, and reports whether it was there. The
// reason goes into its last event.
func (s *Server) Kill(id uint64, reason string) (found bool) {
	s.do(func(r *round) { found = s.table.Kill(r.time(), id, reason, &r.batch) })
	return found
}

// KillUser ends every allocation of a user, the part of the TURN username after
// the colon, and returns how many there were.
func (s *Server) KillUser(user, reason string) (n int) {
	s.do(func(r *round) { n = s.table.KillUser(r.time(), user, reason, &r.batch) })
	return n
}

// Allocations returns a snapshot of the live allocations, in no order. Their times
// are since Start.
func (s *Server) Allocations() []relay.Info { return s.table.Allocations() }

// Relays are the addresses that allocations get, as the policy in force has them.
func (s *Server) Relays() []relay.RelayIP { return s.table.Policy().Relays }

// Start is the zero of relay.Info's times.
func (s *Server) Start() time.Time { return s.start }

// Len is the number of live allocations.
func (s *Server) Len() int { return s.table.Len() }

// Addrs returns the addresses that the server has bound for a transport, in the
// order of Options.Listeners. A wildcard is told as such.
func (s *Server) Addrs(t relay.Transport) []netip.AddrPort {
	var out []netip.AddrPort
	for _, b := range s.bound {
		if b.transport == t {
			out = append(out, b.addr)
		}
	}
	return out
}

// errListening is returned by a second call of Listen.
var errListening = errors.New("turnsrv: already listening")
