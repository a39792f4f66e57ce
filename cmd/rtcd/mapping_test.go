package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rtcd/portmap"
)

// homeRouter is a router that forwards everything.
type homeRouter struct {
	mu     sync.Mutex // guards mapped
	mapped []portmap.Port
}

func (*homeRouter) Name() string { return "NAT-PMP at 192.168.1.1" }

func (*homeRouter) External(context.Context) (netip.Addr, error) {
	return netip.MustParseAddr("100.64.3.4"), nil
}

func (h *homeRouter) Map(_ context.Context, p portmap.Port, _ time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Contains(h.mapped, p) {
		h.mapped = append(h.mapped, p)
	}
	return nil
}

func (h *homeRouter) Unmap(_ context.Context, p portmap.Port) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mapped = slices.DeleteFunc(h.mapped, func(o portmap.Port) bool { return o == p })
	return nil
}

func (h *homeRouter) forwards() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, p := range h.mapped {
		out = append(out, p.String())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// With turn.port_mapping the router forwards what others are to reach, live, and no
// longer once the process has ended. Listeners on loopback are nobody's business.
func TestPortMapping(t *testing.T) {
	text := strings.Replace(loopback(t), "20000-29999", "20000-20003", 1)
	text = strings.Replace(text, `turns: "127.0.0.1:0"`, `turns: "0.0.0.0:0"`, 1)
	on := turnKeys(text, "port_mapping: auto")
	r := newRunning(t, &logBook{}, text, lookup)
	home := new(homeRouter)
	r.mapper = portmap.New(portmap.Options{Find: func(context.Context) (portmap.Router, error) { return home, nil }, Log: r.log})
	r.serve()
	if s := r.status(); s.PortMapping != nil || home.forwards() != "" {
		t.Errorf("off: %+v %s", s.PortMapping, home.forwards())
	}
	r.mustReload(on, "turn.port_mapping")
	ports := []string{"20000/udp", "20001/udp", "20002/udp", "20003/udp"}
	for _, p := range r.mappedPorts() {
		if !slices.Contains(ports, p.String()) {
			ports = append(ports, p.String())
		}
	}
	slices.Sort(ports)
	if len(ports) < 5 || len(ports) > 6 { // TLS and DTLS, which may have one number or two
		t.Errorf("to be forwarded: %q", ports)
	}
	r.eventually("the ports are forwarded", func() bool { return home.forwards() == strings.Join(ports, " ") })
	r.eventually("the status tells", func() bool {
		m := r.status().PortMapping
		return m != nil && m.Router == "NAT-PMP at 192.168.1.1" && m.External.String() == "100.64.3.4" && len(m.Mapped) == len(ports)
	})
	r.eventually("what the router says of itself is told", func() bool {
		asked := r.status().Discovery
		return asked != nil && len(asked.Claims) == 1 && asked.Claims[0].By == "NAT-PMP at 192.168.1.1"
	})
	r.mustReload(text, "turn.port_mapping")
	r.eventually("the ports are no longer forwarded", func() bool { return home.forwards() == "" })
	r.mustReload(on, "turn.port_mapping")
	r.eventually("the ports are forwarded again", func() bool { return home.forwards() == strings.Join(ports, " ") })
	r.end()
	if s := home.forwards(); s != "" {
		t.Errorf("after the end: %s", s)
	}
}
