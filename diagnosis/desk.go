package diagnosis

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"rtcd/creds"
	"rtcd/turnsrv/relay"
)

// MaxTime is how long a check may last.
const MaxTime = 2 * time.Minute

// Bounds of a desk.
const (
	mostChecks  = 64  // at once
	mostOfOne   = 4   // of one IPv4 address or IPv6 /64
	mostHosts   = 8   // of one check
	mostWaiting = 256 // sightings that the holder has not heard
	lookEvery   = 250 * time.Millisecond
)

// ErrBusy is that there are too many checks, of all or of the address.
var ErrBusy = errors.New("too many checks are running; try again in a minute")

// Relay is what a desk needs of the relay; *turnsrv.Server does it.
type Relay interface {
	// Watch replaces the addresses whose clients are told of before they have a name.
	Watch(addrs []netip.Addr)
	// Traced are the live allocations of checks.
	Traced() []relay.Info
}

// Desk holds the running checks. The zero value is not usable; see New. All methods may
// be called from any goroutine.
type Desk struct {
	relay Relay
	busy  chan struct{} // tells Run that there is a check

	mu     sync.Mutex // guards the following
	closed bool
	checks map[string]*Check
}

// New returns a desk without checks. SetRelay comes before the first.
func New() *Desk {
	return &Desk{checks: map[string]*Check{}, busy: make(chan struct{}, 1)}
}

// SetRelay says whose clients are checked, which is told Trace and Event.
func (d *Desk) SetRelay(r Relay) { d.relay = r }

// Check is one check. Its holder reads Sightings and calls Close.
type Check struct {
	ID    string
	Began time.Time

	desk *Desk
	out  chan Sighting

	// Guarded by Desk.mu.
	hosts []netip.Addr // whose nameless clients it hears of
	over  bool
	lost  int
	seen  map[uint64]*relayed // by allocation
}

// relayed is what was told of an allocation's traffic.
type relayed struct{ sent, received, closed bool }

// Open begins a check by somebody at addrs: the address that the holder has asked from,
// or several for a program on this machine.
func (d *Desk) Open(now time.Time, addrs ...netip.Addr) (*Check, error) {
	c := &Check{
		ID: strings.ToLower(rand.Text()[:16]), Began: now, desk: d, out: make(chan Sighting, mostWaiting),
		seen: map[uint64]*relayed{},
	}
	for _, a := range addrs {
		c.hosts = append(c.hosts, hostOf(a))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	same := 0
	for _, other := range d.checks {
		if len(c.hosts) > 0 && other.hears(c.hosts[0]) {
			same++
		}
	}
	if d.closed || same >= mostOfOne || len(d.checks) >= mostChecks {
		return nil, ErrBusy
	}
	d.checks[c.ID] = c
	d.watchLocked()
	select {
	case d.busy <- struct{}{}:
	default:
	}
	return c, nil
}

// Sightings is what the relay sees of the check, until it is over.
func (c *Check) Sightings() <-chan Sighting { return c.out }

// Close ends the check.
func (c *Check) Close() {
	c.desk.mu.Lock()
	defer c.desk.mu.Unlock()
	c.endLocked()
}

func (c *Check) endLocked() {
	if c.over {
		return
	}
	c.over = true
	delete(c.desk.checks, c.ID)
	close(c.out)
	c.desk.watchLocked()
}

// hears reports whether a check is told of nameless clients at a host.
func (c *Check) hears(host netip.Addr) bool {
	for _, h := range c.hosts {
		if h == host {
			return true
		}
	}
	return false
}

// tellLocked hands a sighting to the holder, or counts it as lost.
func (c *Check) tellLocked(s Sighting, now time.Time) {
	s.Type, s.At, s.Lost = "trace", now.Sub(c.Began).Milliseconds(), c.lost
	select {
	case c.out <- s:
		c.lost = 0
	default:
		c.lost++
	}
}

// watchLocked has the relay watch the addresses of the running checks.
func (d *Desk) watchLocked() {
	var addrs []netip.Addr
	for _, c := range d.checks {
		addrs = append(addrs, c.hosts...)
	}
	d.relay.Watch(addrs)
}

// Trace takes what the relay tells of a client, to whom it concerns.
func (d *Desk) Trace(t relay.Trace) {
	now := time.Now()
	s := ofTrace(t, now.Unix())
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.Username == "" {
		host := hostOf(t.Client.Addr())
		for _, c := range d.checks {
			if c.hears(host) {
				c.tellLocked(s, now)
			}
		}
		return
	}
	if _, user, err := creds.ParseUsername(t.Username); err == nil {
		if c, n := d.checkLocked(user); c != nil {
			s.N = &n
			c.tellLocked(s, now)
		}
	}
}

// Event takes what the relay tells of an allocation.
func (d *Desk) Event(e relay.Event) {
	see := map[relay.EventKind]string{relay.Allocated: seeAllocated, relay.Closed: seeClosed}[e.Kind]
	if see == "" {
		return
	}
	if id, _ := creds.CheckOf(e.Info.User); id == "" {
		return
	}
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if c, n := d.checkLocked(e.Info.User); c != nil {
		if e.Kind == relay.Allocated {
			c.meetLocked(hostOf(e.Info.Client.Addr()))
		}
		if e.Kind == relay.Closed {
			c.relayedLocked(e.Info, n, now) // what the last look has missed
			c.seen[e.Info.ID].closed = true // a look that began before may still know it
		}
		s := ofAllocation(see, e.Reason, e.Info)
		s.N = &n
		c.tellLocked(s, now)
	}
}

// meetLocked takes in that the holder is at another address too, of the other family
// perhaps: an allocation from there shows it, which no forged datagram can.
func (c *Check) meetLocked(host netip.Addr) {
	if !c.hears(host) && len(c.hosts) < mostHosts {
		c.hosts = append(c.hosts, host)
		c.desk.watchLocked()
	}
}

// checkLocked finds the check of a user part.
func (d *Desk) checkLocked(user string) (*Check, int) {
	id, n := creds.CheckOf(user)
	return d.checks[id], n
}

// relayedLocked tells of the first bytes of each direction.
func (c *Check) relayedLocked(i relay.Info, n int, now time.Time) {
	was := c.seen[i.ID]
	if was == nil {
		was = &relayed{}
		c.seen[i.ID] = was
	}
	is := relayed{sent: i.SentBytes > 0, received: i.ReceivedBytes > 0}
	if was.closed || is == *was {
		return
	}
	*was = is
	s := ofAllocation(seeRelayed, "", i)
	s.N = &n
	c.tellLocked(s, now)
}

// Run looks at what checks relay and ends those that last too long, until ctx is done;
// then it ends all. Without checks it sleeps. After a panic it may begin again.
func (d *Desk) Run(ctx context.Context) error {
	for {
		d.attend(ctx)
		select {
		case <-ctx.Done():
			d.close()
			return nil
		case <-d.busy:
		}
	}
}

// attend is Run as long as there are checks.
func (d *Desk) attend(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if !d.look(now) {
				return
			}
		}
	}
}

// look reports whether there are checks left.
func (d *Desk) look(now time.Time) bool {
	live := d.relay.Traced()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range live {
		if c, n := d.checkLocked(i.User); c != nil {
			c.relayedLocked(i, n, now)
		}
	}
	for _, c := range d.checks {
		if now.Sub(c.Began) >= MaxTime {
			c.endLocked()
		}
	}
	return len(d.checks) > 0
}

func (d *Desk) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, c := range d.checks {
		c.endLocked()
	}
}

// hostOf is what one caller has: an IPv4 address or an IPv6 /64.
func hostOf(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is4() || !a.IsValid() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64)
	return p.Addr()
}
