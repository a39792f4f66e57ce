//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"rtcd/test/turnclient"
)

// load is one row of the table.
type load struct {
	ID    string  `json:"id"`
	Title string  `json:"title"`
	Unit  string  `json:"unit"`
	Less  bool    `json:"less,omitempty"` // less is better
	Must  float64 `json:"must,omitempty"` // wanted ratio of rtcd to coturn
	Aim   float64 `json:"aim,omitempty"`

	run func(*rig, *process, *sample) error
}

const perCPU = "packets per CPU-second"

// traffic says what a data load sends.
type traffic struct {
	transport string // of the clients: udp, tcp, tls
	up        bool   // client to peer
	pairs     bool   // clients to one another, through the server
	size      int    // bytes of payload
	flows     int
	burst     int  // packets of one flow in a row
	coalesced bool // a burst is one super-frame
	cut       bool // the server's system cuts super-frames up, as for a card that cannot
}

// frames makes one round of frames of all flows, and tells how many datagrams are
// in each. toServer is up or pairs.
func (t traffic) frames(list []*turnclient.Client) ([][]byte, int) {
	var out [][]byte
	l, payload := peerLink, make([]byte, t.size)
	if t.up || t.pairs {
		l, payload = clientLink, channelData(dataChannel, t.size)
	}
	weight, copies := 1, t.burst
	d := datagram{payload: payload}
	if t.coalesced {
		weight, copies = t.burst, 1
		d.segment = len(payload)
		d.payload = nil
		for range t.burst {
			d.payload = append(d.payload, payload...)
		}
	}
	for i, c := range list {
		d.src, d.dst = peerAt(i), c.Relayed
		if t.up || t.pairs {
			d.src, d.dst = c.Local(), netip.AddrPortFrom(serverIP, turnPort)
		}
		frame := appendFrame(nil, l.farMAC, l.nearMAC, d)
		for range copies {
			out = append(out, frame)
		}
	}
	return out, weight
}

// sender opens the sender of this traffic.
func (t traffic) sender(r *rig, list []*turnclient.Client) (*sender, error) {
	frames, weight := t.frames(list)
	if t.up || t.pairs {
		return newSender(r.topology.client, clientLink.far, frames, weight)
	}
	return newSender(r.topology.peer, peerLink.far, frames, weight)
}

// arrival tells where the datagrams arrive, and how long they are there.
func (t traffic) arrival(r *rig) (ns string, size int) {
	if t.up {
		return r.topology.peer, t.size
	}
	return r.topology.client, t.size + 4
}

// flood offers a quarter more than the server can deliver with the whole core, as a
// short try tells, and counts what arrives.
func (t traffic) flood(r *rig, p *process, out *sample) error {
	if t.cut {
		defer r.topology.segmentsPerFrame(65535)
		if err := r.topology.segmentsPerFrame(1); err != nil {
			return err
		}
	}
	list, err := r.setUp(t.transport, t.flows, t.pairs)
	if err != nil {
		return err
	}
	defer closeAll(list)
	s, err := t.sender(r, list)
	if err != nil {
		return err
	}
	defer s.Close()
	pc := pace{batch: max(1, 64/s.weight)}
	if err := t.offer(r, p, out, s, pc, r.window/4); err != nil {
		return err
	}
	if out.Delivered == 0 {
		return errors.New("nothing was delivered")
	}
	pc.rate = 1.25 * float64(out.Delivered) / out.CPU
	if err := t.offer(r, p, out, s, pc, r.window); err != nil {
		return err
	}
	out.Value = float64(out.Delivered) / out.CPU
	return nil
}

// offer sends for a time and counts.
func (t traffic) offer(r *rig, p *process, out *sample, s *sender, pc pace, d time.Duration) error {
	ns, size := t.arrival(r)
	before, err := readSink(ns)
	if err != nil {
		return err
	}
	err = r.measure(p, out, func() (err error) {
		out.Sent, err = drive([]*sender{s}, pc, d, nil)
		return err
	})
	if err != nil {
		return err
	}
	after, err := readSink(ns)
	out.Delivered = after.datagrams(before, size)
	return err
}

// even sends 50,000 packets/s at an even pace, half of them in each direction, and
// tells how much of its core the server needs.
func even(r *rig, p *process, out *sample) error {
	const rate = 50_000
	list, err := r.setUp("udp", 100, false)
	if err != nil {
		return err
	}
	defer closeAll(list)
	up, down := traffic{transport: "udp", up: true, size: 160, burst: 1}, traffic{transport: "udp", size: 160, burst: 1}
	var senders []*sender
	var before [2]tally
	for i, t := range []traffic{up, down} {
		s, err := t.sender(r, list)
		if err != nil {
			return err
		}
		defer s.Close()
		senders = append(senders, s)
		ns, _ := t.arrival(r)
		if before[i], err = readSink(ns); err != nil {
			return err
		}
	}
	err = r.measure(p, out, func() (err error) {
		out.Sent, err = drive(senders, pace{rate: rate, batch: 1, even: true}, r.window, nil)
		return err
	})
	if err != nil {
		return err
	}
	for i, t := range []traffic{up, down} {
		ns, size := t.arrival(r)
		after, err := readSink(ns)
		if err != nil {
			return err
		}
		out.Delivered += after.datagrams(before[i], size)
	}
	if err := out.keptPace(rate, r.window); err != nil {
		return err
	}
	if out.loss() > 0.02 {
		return fmt.Errorf("lost %d of %d packets", out.Sent-out.Delivered, out.Sent)
	}
	out.Value = 100 * out.CPU / out.Seconds
	return nil
}

// bulk makes many allocations with full authentication, and binds a channel of
// each: allocations per CPU-second, or the memory of one.
func bulk(memory bool) func(*rig, *process, *sample) error {
	return func(r *rig, p *process, out *sample) error {
		n := r.bulk
		if memory {
			n = 10_000
		}
		list, err := r.dialMany("udp", "user", n)
		if err != nil {
			return err
		}
		defer closeAll(list)
		before, err := residentBytes(p.pid)
		if err != nil {
			return err
		}
		err = r.measure(p, out, func() error {
			return each(list, func(_ int, c *turnclient.Client) error { return c.Allocate() })
		})
		out.Value = float64(n) / out.CPU
		if err != nil || !memory {
			return err
		}
		err = each(list, func(i int, c *turnclient.Client) error { return c.Bind(dataChannel, peerAt(i)) })
		if err != nil {
			return err
		}
		time.Sleep(time.Second)
		after, err := residentBytes(p.pid)
		out.Value = (float64(after) - float64(before)) / float64(n)
		return err
	}
}

// loads are the rows, in the order of the table.
func loads() []load {
	var out []load
	add := func(id, title string, must, aim float64, t traffic) {
		out = append(out, load{ID: id, Title: title, Unit: perCPU, Must: must, Aim: aim, run: t.flood})
	}
	udp := func(prefix, words string, up bool, burst int, coalesced bool, flows []int, must, aim float64) {
		for _, n := range flows {
			for _, size := range []int{160, 1200} {
				direction := "peer→client"
				if up {
					direction = "client→peer"
				}
				add(fmt.Sprintf("%s-%d-%d", prefix, size, n),
					fmt.Sprintf("UDP %s, %s, %d B, %d allocations", direction, words, size, n), must, aim,
					traffic{transport: "udp", up: up, size: size, flows: n, burst: burst, coalesced: coalesced})
			}
		}
	}
	udp("udp-down", "single packets", false, 1, false, []int{100, 1000}, 1.3, 1.7)
	udp("udp-up", "single packets", true, 1, false, []int{100, 1000}, 1.0, 1.2)
	udp("udp-up-burst", "bursts of 8", true, 8, false, []int{100}, 1.4, 2.0)
	udp("udp-down-burst", "bursts of 8", false, 8, false, []int{100}, 0, 0)
	udp("udp-up-coalesced", "coalesced bursts of 8", true, 8, true, []int{100}, 4, 8)
	udp("udp-down-coalesced", "coalesced bursts of 8", false, 8, true, []int{100}, 4, 8)
	cut := traffic{transport: "udp", size: 1200, flows: 100, burst: 8, coalesced: true, cut: true}
	add("udp-down-cut-1200", "UDP peer→client, the same cut up by the server's system, 1200 B", 0, 0, cut)
	cut.up = true
	add("udp-up-cut-1200", "UDP client→peer, the same cut up by the server's system, 1200 B", 0, 0, cut)
	for _, size := range []int{160, 1200} {
		add(fmt.Sprintf("relay-relay-%d", size), fmt.Sprintf("UDP relay↔relay in one server, %d B, 100 allocations", size), 2, 3,
			traffic{transport: "udp", pairs: true, size: size, flows: 100, burst: 1})
	}
	for _, s := range []struct {
		transport, title string
		must, aim        float64
	}{{"tcp", "TCP", 4, 10}, {"tls", "TLS", 2, 4}} {
		up := stream{transport: s.transport, size: 1200, flows: 10}
		out = append(out, load{ID: s.transport + "-up", Title: s.title + " client→peer, 1200 B stream, 10 connections", Unit: perCPU, Must: s.must, Aim: s.aim, run: up.upload})
		paced := stream{transport: s.transport, size: 1200, flows: 100}
		out = append(out, load{ID: s.transport + "-up-paced", Title: s.title + " client→peer, 1200 B, 100 connections, 50,000/s, 4 in a write", Unit: perCPU, run: paced.paced})
		out = append(out, load{ID: s.transport + "-down", Title: s.title + " peer→client, 1200 B, 10 connections", Unit: perCPU, Must: 1, Aim: 1.5, run: up.download})
	}
	return append(out,
		load{ID: "allocate", Title: "allocations, full authentication", Unit: "allocations per CPU-second", Must: 2.5, Aim: 4, run: bulk(false)},
		load{ID: "memory", Title: "memory per allocation with a channel, at 10,000", Unit: "bytes", Less: true, run: bulk(true)},
		load{ID: "latency-up", Title: "latency client→peer at 10,000 packets/s, p50", Unit: "µs", Less: true, Must: 1.4, Aim: 1, run: latencyUp},
		load{ID: "latency-down", Title: "latency peer→client at 10,000 packets/s, p50", Unit: "µs", Less: true, Must: 1.4, Aim: 1, run: latencyDown},
		load{ID: "even", Title: "CPU at an even 50,000 packets/s", Unit: "% of a core", Less: true, Must: 1, Aim: 0.6, run: even},
	)
}
