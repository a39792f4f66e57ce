package relay

import "sync/atomic"

// shape is which relayed addresses an allocation has.
type shape uint8

const (
	only4 shape = iota
	only6
	dual
	numShapes
)

var shapeNames = [numShapes]string{"ipv4", "ipv6", "dual"}

// population counts allocations as they come and go, by transport and shape.
type population struct {
	created [numTransports][numShapes]atomic.Uint64
	live    [numTransports][numShapes]atomic.Int64
}

func (a *allocation) shape() shape {
	switch {
	case a.sockets[ipv6].Load() == nil:
		return only4
	case a.sockets[ipv4].Load() == nil:
		return only6
	}
	return dual
}

// born counts a new allocation. Like what follows it is called under the lock of the
// allocation's client.
func (p *population) born(a *allocation) {
	p.created[a.client.Transport][a.shape()].Add(1)
	p.stays(a)
}

// gone takes an allocation out of the live ones, as long as it has its sockets.
func (p *population) gone(a *allocation) { p.live[a.client.Transport][a.shape()].Add(-1) }

// stays counts among the live ones.
func (p *population) stays(a *allocation) { p.live[a.client.Transport][a.shape()].Add(1) }

// Population is the number of allocations over one transport with relayed addresses
// of one family, or of both ("dual").
type Population struct {
	Transport Transport
	Family    string
	Live      int
	Created   uint64 // since the birth of the table
}

// Population tells the number of allocations, for every transport and family.
func (t *Table) Population() []Population {
	var out []Population
	for tr := range t.population.live {
		for s := range t.population.live[tr] {
			out = append(out, Population{
				Transport(tr), shapeNames[s],
				int(t.population.live[tr][s].Load()), t.population.created[tr][s].Load(),
			})
		}
	}
	return out
}

// Ports tells how the relay ports are used, for each family that has a relay address.
func (t *Table) Ports(now Now) []PortUse {
	p := t.policy.Load()
	var ranges []portRange
	for _, r := range p.Relays {
		ranges = append(ranges, portRange{r.Local, p.MinPort, p.MaxPort})
	}
	var out []PortUse
	for f := range numFamilies {
		if u := t.ports.use(now.Mono, f, ranges); u.Used+u.Resting+u.Free > 0 {
			out = append(out, u)
		}
	}
	return out
}
