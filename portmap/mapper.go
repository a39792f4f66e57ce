package portmap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Port is one port that is to be reached from outside.
type Port struct {
	Protocol string // "udp" or "tcp"
	Number   uint16
}

func (p Port) String() string { return fmt.Sprintf("%d/%s", p.Number, p.Protocol) }

// Router forwards ports to this machine.
type Router interface {
	// Name tells people which one it is: "NAT-PMP at 192.168.1.1".
	Name() string
	// External is the router's own address on its far side.
	External(ctx context.Context) (netip.Addr, error)
	// Map has a port forwarded to the same port here, for at most the lifetime. It is
	// also how that is prolonged. It fails where only another port could be had.
	Map(ctx context.Context, p Port, lifetime time.Duration) error
	// Unmap takes that back.
	Unmap(ctx context.Context, p Port) error
}

// Options are what a Mapper is made from. All may be left out.
type Options struct {
	Find func(ctx context.Context) (Router, error) // nil means [Find]
	Log  *slog.Logger
}

// When the router is asked.
const (
	lifetime    = time.Hour        // of a mapping, should we not come to take it back
	renewEvery  = 10 * time.Minute // a router that was restarted has forgotten them
	searchFirst = 30 * time.Second // where none answers: then ever more rarely
	searchLast  = 15 * time.Minute
	goodbye     = 5 * time.Second // for taking all mappings back in the end
)

// Mapper keeps ports forwarded.
type Mapper struct {
	opt  Options
	wake chan struct{}

	mu     sync.Mutex // guards the following
	want   []Port
	status Status

	// Of Run's goroutine alone.
	router  Router
	mapped  []Port
	refused map[Port]string // why, as it was logged
	misses  int             // searches in a row that found no router
	silent  string          // why, as it was logged
}

// Status is how it goes.
type Status struct {
	Router   string     // its name; "" if none is known
	External netip.Addr // its own address; invalid if it has not told
	Mapped   []Port
	Refused  []string // a port and the router's reason each
	Problem  string   // why there is no router
}

// New returns a Mapper that wants nothing yet.
func New(o Options) *Mapper {
	if o.Find == nil {
		o.Find = Find
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Mapper{opt: o, wake: make(chan struct{}, 1), refused: map[Port]string{}}
}

// Set says which ports are wanted from now on; none means that mapping is off and no
// router is looked for.
func (m *Mapper) Set(ports []Port) {
	m.mu.Lock()
	same := slices.Equal(m.want, ports)
	m.want = slices.Clone(ports)
	m.mu.Unlock()
	if same {
		return
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Status tells how it goes.
func (m *Mapper) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.status
	s.Mapped, s.Refused = slices.Clone(s.Mapped), slices.Clone(s.Refused)
	return s
}

// Run keeps the wanted ports forwarded until ctx ends, and calls changed after each
// change of the router or its address. Before it returns it takes the mappings back.
func (m *Mapper) Run(ctx context.Context, changed func()) error {
	for {
		before := m.Status()
		next := m.pass(ctx)
		if after := m.Status(); ctx.Err() == nil && (before.Router != after.Router || before.External != after.External) {
			changed()
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			m.end()
			return nil
		case <-timer.C:
		case <-m.wake:
			timer.Stop()
		}
	}
}

// idle is longer than anybody waits.
const idle = 1000 * time.Hour

// pass brings the router up to date with what is wanted, and returns when to look again.
func (m *Mapper) pass(ctx context.Context) time.Duration {
	m.mu.Lock()
	want := m.want
	m.mu.Unlock()
	if len(want) == 0 {
		m.unmap(ctx, func(Port) bool { return true })
		m.router, m.misses, m.silent, m.refused = nil, 0, "", map[Port]string{}
		m.publish(Status{})
		return idle
	}
	if m.router == nil && !m.find(ctx) {
		wait := min(searchFirst<<min(m.misses, 10), searchLast)
		m.misses++
		return wait
	}
	m.misses = 0
	external, err := m.router.External(ctx)
	if err != nil && ctx.Err() == nil {
		m.lose(fmt.Errorf("%s: %w", m.router.Name(), err))
		return searchFirst
	}
	m.unmap(ctx, func(p Port) bool { return !slices.Contains(want, p) })
	err = m.mapAll(ctx, want)
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		m.lose(fmt.Errorf("%s: %w", m.router.Name(), err))
		return searchFirst
	}
	s := Status{Router: m.router.Name(), External: external.Unmap(), Mapped: slices.Clone(m.mapped)}
	for _, p := range want {
		if reason, ok := m.refused[p]; ok {
			s.Refused = append(s.Refused, fmt.Sprintf("%s: %s", p, reason))
		}
	}
	if m.Status().External != s.External || m.Status().Router != s.Router {
		m.opt.Log.Info("the router forwards our ports", "router", s.Router, "external", s.External.String(),
			"mapped", len(s.Mapped), "refused", len(s.Refused))
	}
	m.publish(s)
	return renewEvery
}

func (m *Mapper) publish(s Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status = s
}

// find looks for a router. The first miss in a row is logged.
func (m *Mapper) find(ctx context.Context) bool {
	router, err := m.opt.Find(ctx)
	if err == nil {
		m.router, m.silent = router, ""
		return true
	}
	if ctx.Err() == nil {
		m.lose(err)
	}
	return false
}

// lose forgets the router. What it forwarded may lapse.
func (m *Mapper) lose(err error) {
	if why := err.Error(); why != m.silent {
		m.silent = why
		m.opt.Log.Warn("no router forwards our ports; forward them by hand, or set turn.port_mapping: off", "error", err)
	}
	m.router, m.mapped = nil, nil
	m.publish(Status{Problem: err.Error()})
}

// mapAll has the wanted ports forwarded, or prolongs that. One that is refused is
// logged once; a router that does not answer at all is an error.
func (m *Mapper) mapAll(ctx context.Context, want []Port) error {
	for _, p := range want {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := m.router.Map(ctx, p, lifetime)
		if ctx.Err() != nil || errors.Is(err, errSilent) {
			return err
		}
		at := slices.Index(m.mapped, p)
		if err == nil {
			delete(m.refused, p)
			if at < 0 {
				m.mapped = append(m.mapped, p)
			}
			continue
		}
		if at >= 0 {
			m.mapped = slices.Delete(m.mapped, at, at+1)
		}
		if m.refused[p] != err.Error() {
			m.refused[p] = err.Error()
			m.opt.Log.Warn("the router does not forward a port", "router", m.router.Name(), "port", p.String(), "error", err)
		}
	}
	return nil
}

// unmap takes mappings back.
func (m *Mapper) unmap(ctx context.Context, which func(Port) bool) {
	var failed []string
	for _, p := range slices.Clone(m.mapped) {
		if !which(p) || ctx.Err() != nil {
			continue
		}
		if err := m.router.Unmap(ctx, p); err != nil {
			failed = append(failed, p.String())
			if errors.Is(err, errSilent) {
				break // nor would it answer about the others
			}
			continue
		}
		m.mapped = slices.DeleteFunc(m.mapped, func(o Port) bool { return o == p })
	}
	m.mapped = slices.DeleteFunc(m.mapped, which)
	for p := range m.refused {
		if which(p) {
			delete(m.refused, p)
		}
	}
	if len(failed) > 0 {
		m.opt.Log.Warn("the router may go on forwarding ports until they lapse", "router", m.router.Name(), "ports", strings.Join(failed, ", "))
	}
}

// end takes all mappings back.
func (m *Mapper) end() {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	if n := len(m.mapped); n > 0 {
		m.unmap(ctx, func(Port) bool { return true })
		m.opt.Log.Info("the router was told to stop forwarding", "router", m.router.Name(), "ports", n)
	}
	m.publish(Status{})
}

// errSilent is that a router did not answer.
var errSilent = errors.New("no answer")

// Find returns the router of this machine's network that forwards ports: by NAT-PMP at
// the default gateway, else by UPnP.
func Find(ctx context.Context) (Router, error) {
	pmp, err := findPMP(ctx)
	if err == nil {
		return pmp, nil
	}
	igd, err2 := findUPnP(ctx)
	if err2 == nil {
		return igd, nil
	}
	return nil, fmt.Errorf("NAT-PMP: %w; UPnP: %w", err, err2)
}
