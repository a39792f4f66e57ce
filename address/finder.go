package address

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"
)

// Options are what a Finder is made from. All may be left out.
type Options struct {
	Lookup LookupFunc // nil means the system's resolver
	Log    *slog.Logger

	// For tests: where facts come from.
	look     func(relays []Pair) Machine
	stun     func(ctx context.Context, servers []string, want [2]bool, lookup LookupFunc) ([]Claim, []string)
	metadata func(ctx context.Context) []Claim
	changes  func(ctx context.Context) <-chan struct{}
}

func (o Options) withDefaults() Options {
	if o.Lookup == nil {
		o.Lookup = Lookup
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.look == nil {
		o.look = look
	}
	if o.stun == nil {
		o.stun = askSTUN
	}
	if o.metadata == nil {
		o.metadata = func(ctx context.Context) []Claim { return askMetadata(ctx, new(net.Dialer).DialContext, metadataWait) }
	}
	if o.changes == nil {
		o.changes = changes
	}
	return o
}

// When facts are looked at again: names and others that could not tell soon and then
// ever more rarely, else regularly.
const (
	machineEvery = 30 * time.Second
	nameEvery    = time.Minute
	nameFirst    = time.Second
	askFirst     = 5 * time.Second
	settle       = time.Second // after a change of the machine's: more follow
	doubts       = 4           // times that others are asked again soon after one: what they see may follow late
)

// Finder keeps a decision up to date.
type Finder struct {
	opt  Options
	wake chan struct{}

	looking sync.Mutex // held by one look at a time

	mu    sync.Mutex // guards the following
	wish  Wish
	facts Facts
	told  Decision // what changed was called for last

	names, asks pace
}

// pace says when something is due: at once, then by its success.
type pace struct {
	at    time.Time // the zero time is now
	wait  time.Duration
	tries int
	fresh int // so many good ones are not yet believed for long
}

func (p *pace) due(now time.Time) bool { return !now.Before(p.at) }

// after sets when it is due next: a failed one, or one that is not yet believed for long,
// after first, 2·first, 4·first …, at most after regular.
func (p *pace) after(now time.Time, good bool, first, regular time.Duration) {
	switch {
	case !good:
		p.wait = min(first<<min(p.tries, 20), regular)
		p.tries++
	case p.fresh > 0:
		p.wait = min(first<<min(doubts-p.fresh, 20), regular)
		p.fresh--
		p.tries = 0
	default:
		p.wait, p.tries = regular, 0
	}
	p.at = now.Add(p.wait)
}

// NewFinder returns a Finder that wishes for nothing yet.
func NewFinder(o Options) *Finder {
	return &Finder{opt: o.withDefaults(), wake: make(chan struct{}, 1)}
}

// Trial is a wish with its first facts, not in force yet.
type Trial struct {
	wish  Wish
	facts Facts
}

// Decision is what the trial would begin with.
func (t Trial) Decision() Decision { return Decide(t.wish, t.facts) }

// Try looks at this machine and looks names up, for as long as ctx lasts. Nobody else is
// asked: what others have said so far holds for the trial too. It changes nothing.
func (f *Finder) Try(ctx context.Context, w Wish) Trial {
	f.mu.Lock()
	facts := f.facts
	f.mu.Unlock()
	facts.Machine = f.opt.look(w.Relays)
	facts.Names = f.lookup(ctx, w.Names, nil)
	return Trial{w, facts}
}

// Use puts a trial in force.
func (f *Finder) Use(t Trial) {
	f.mu.Lock()
	claims := f.facts.Claims // may be younger than the trial
	f.wish, f.facts = t.wish, t.facts
	f.facts.Claims = claims
	f.names, f.asks = pace{}, pace{}
	if !slices.ContainsFunc(slices.Collect(maps.Values(t.facts.Names)), func(n Named) bool { return n.Err != nil }) {
		f.names.after(time.Now(), true, nameFirst, nameEvery)
	} else {
		f.names.after(time.Now(), false, nameFirst, nameEvery)
	}
	f.told = Decide(f.wish, f.facts)
	f.mu.Unlock()
	f.again()
}

// Decision is the one in force.
func (f *Finder) Decision() Decision {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Decide(f.wish, f.facts)
}

// Claims are what others have said, and who has said nothing.
func (f *Finder) Claims() (claims []Claim, silent []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.facts.Claims), slices.Clone(f.facts.Silent)
}

// Router takes what a router that forwards our ports says of its own address; nil:
// there is none.
func (f *Finder) Router(claims []Claim) {
	f.mu.Lock()
	f.facts.Claims = slices.Concat(of(f.facts.Claims, STUN), of(f.facts.Claims, Metadata), claims)
	f.mu.Unlock()
	f.again()
}

func (f *Finder) again() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run keeps the facts up to date until ctx ends, and calls changed after each change of
// the decision; Decision tells the new one.
func (f *Finder) Run(ctx context.Context, changed func()) error {
	ctx, end := context.WithCancel(ctx)
	moved := f.opt.changes(ctx)
	defer func() {
		end()
		if moved != nil {
			for range moved { // until its goroutine has ended
			}
		}
	}()
	for {
		next := f.Look(ctx, false)
		if ctx.Err() != nil {
			return nil
		}
		if f.news() {
			changed()
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-f.wake:
		case _, ok := <-moved:
			if !ok {
				moved = nil
			} else {
				settled(ctx, moved)
			}
		}
		timer.Stop()
	}
}

// settled waits until the machine's addresses have stopped changing, or for a while.
func settled(ctx context.Context, moved <-chan struct{}) {
	for range 5 {
		timer := time.NewTimer(settle)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			return
		case <-moved:
			timer.Stop()
		}
	}
}

// news reports whether the decision has changed since it was told last.
func (f *Finder) news() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := Decide(f.wish, f.facts)
	if d.Equal(f.told) {
		return false
	}
	f.told = d
	return true
}

// Look looks at what is due, or at everything, and returns when to look again. What is
// known stays while nobody tells anything else.
func (f *Finder) Look(ctx context.Context, everything bool) (next time.Duration) {
	f.looking.Lock()
	defer f.looking.Unlock()
	f.mu.Lock()
	w, facts, names, asks := f.wish, f.facts, f.names, f.asks
	f.mu.Unlock()
	start := time.Now()
	machine := f.opt.look(w.Relays)
	if machine.differs(facts.Machine) {
		names, asks = pace{}, pace{fresh: doubts}
	}
	facts.Machine = machine
	if len(w.Names) > 0 && (everything || names.due(start)) {
		facts.Names = f.lookup(ctx, w.Names, facts.Names)
		good := !slices.ContainsFunc(w.Names, func(n string) bool { return facts.Names[n].Err != nil })
		names.after(time.Now(), good, nameFirst, nameEvery)
	}
	if want := w.asks(machine); want != [2]bool{} && (everything || asks.due(start)) {
		var good bool
		facts, good = f.ask(ctx, w, facts, want)
		asks.after(time.Now(), good, askFirst, w.Every)
	}
	if ctx.Err() != nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !reflect.DeepEqual(w, f.wish) {
		return 0 // a new wish was faster
	}
	facts.Claims = slices.Concat(of(facts.Claims, STUN), of(facts.Claims, Metadata), of(f.facts.Claims, Gateway))
	f.facts, f.names, f.asks = facts, names, asks
	return f.nextLocked(time.Now())
}

// nextLocked is how long nothing is due.
func (f *Finder) nextLocked(now time.Time) time.Duration {
	next := machineEvery
	if len(f.wish.Names) > 0 {
		next = min(next, f.names.at.Sub(now))
	}
	if f.wish.asks(f.facts.Machine) != [2]bool{} {
		next = min(next, f.asks.at.Sub(now))
	}
	return max(next, 0)
}

// lookup looks names up, all at once. The addresses of one that cannot be stay.
func (f *Finder) lookup(ctx context.Context, names []string, before map[string]Named) map[string]Named {
	found := make([]Named, len(names))
	parallel(len(names), func(i int) {
		found[i].Err = fmt.Errorf("lookup %s: the resolver broke down", names[i]) // unless it returns
		found[i].Addrs, found[i].Err = f.opt.Lookup(ctx, names[i])
		if found[i].Err == nil && len(found[i].Addrs) == 0 {
			found[i].Err = fmt.Errorf("lookup %s: no address", names[i])
		}
	})
	out := map[string]Named{}
	for i, name := range names {
		if found[i].Err != nil {
			found[i].Addrs = before[name].Addrs
		}
		out[name] = found[i]
	}
	return out
}

// ask asks others, and reports whether they could tell. What they said before stays
// where they now say nothing.
func (f *Finder) ask(ctx context.Context, w Wish, facts Facts, want [2]bool) (_ Facts, good bool) {
	var metadata, stun []Claim
	var silent []string
	parallel(2, func(i int) {
		switch {
		case i == 0 && w.Metadata && want[0]:
			metadata = f.opt.metadata(ctx)
		case i == 1 && len(w.STUN) > 0:
			stun, silent = f.opt.stun(ctx, w.STUN, want, f.opt.Lookup)
		}
	})
	if ctx.Err() != nil {
		return facts, false
	}
	claims := of(facts.Claims, Gateway)
	if len(metadata) == 0 && w.Metadata {
		metadata = of(facts.Claims, Metadata)
		silent = append(silent, "no metadata service of a cloud answers")
	} else {
		good = len(metadata) > 0
	}
	for _, is4 := range []bool{true, false} {
		before, now := family(of(facts.Claims, STUN), is4), family(stun, is4)
		addr, _ := agreed(now)
		good = good || addr.IsValid() && is4
		if was, _ := agreed(before); was.IsValid() && !addr.IsValid() {
			now, silent = before, append(silent, said(now)...)
		}
		claims = append(claims, now...)
	}
	facts.Claims = append(claims, metadata...)
	facts.Asked, facts.Silent = true, silent
	f.opt.Log.Debug("asked for the public address", "claims", facts.Claims, "silent", facts.Silent)
	return facts, good || !want[0] // an IPv6 address that nobody can tell is no reason to ask sooner
}

// of are the claims of a source.
func of(claims []Claim, s Source) []Claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c Claim) bool { return c.Source != s })
}

func family(claims []Claim, is4 bool) []Claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c Claim) bool { return c.Addr.Is4() != is4 })
}

// Find decides once, after asking whom the wish allows. What is known already may be
// given.
func Find(ctx context.Context, w Wish, o Options, known ...Claim) Decision {
	f := NewFinder(o)
	f.facts.Claims = known
	f.Use(f.Try(ctx, w))
	f.Look(ctx, false)
	return f.Decision()
}
