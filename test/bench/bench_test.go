//go:build linux

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rtcd/test/turnclient"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{7}, spread{7, 7, 7}},
		{[]float64{9, 1, 5}, spread{5, 1, 9}},
		{[]float64{4, 1, 2, 3}, spread{2.5, 1, 4}},
	} {
		if got := newSpread(c.values); got != c.want {
			t.Errorf("%v: got %v, want %v", c.values, got, c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		1_474_000: "1.47 M", 254_321: "254 k", 23_140: "23.1 k", 2323.4: "2323", 36.24: "36.2",
	} {
		if got := number(v); got != want {
			t.Errorf("%v: got %q, want %q", v, got, want)
		}
	}
}

// A super-frame has one set of headers, and counts as what is in it.
func TestTally(t *testing.T) {
	before := tally{Packets: 10, Bytes: 10 * 188}
	after := before
	after.Packets += 3
	after.Bytes += 28 + 160 + 28 + 8*160 + 28 + 64*160
	if got := after.datagrams(before, 160); got != 73 {
		t.Errorf("got %d datagrams, want 73", got)
	}
}

// Whoever completes the UDP checksum adds the segment to what we left in its place:
// all words of pseudo-header and datagram then add up to 0xffff.
func TestFrameChecksums(t *testing.T) {
	d := datagram{
		src: netip.AddrPortFrom(clientIP, 40000), dst: netip.AddrPortFrom(serverIP, turnPort),
		payload: []byte("an even number of bytes!"),
	}
	f := appendFrame(nil, clientLink.farMAC, clientLink.nearMAC, d)
	if len(f) != headersLen+len(d.payload) {
		t.Fatalf("%d bytes, want %d", len(f), headersLen+len(d.payload))
	}
	ip := f[vnetLen+14:]
	if got := sum(0, ip[:20]); got != 0xffff {
		t.Errorf("IP header adds up to %#x", got)
	}
	udp := ip[20:]
	pseudo := sum(uint32(17+len(udp)), ip[12:20])
	if seed := uint16(udp[6])<<8 | uint16(udp[7]); seed != pseudo {
		t.Errorf("UDP checksum starts from %#x, want the pseudo-header's %#x", seed, pseudo)
	}
	full := ^sum(0, udp)
	udp[6], udp[7] = byte(full>>8), byte(full)
	if got := sum(uint32(pseudo), udp); got != 0xffff {
		t.Errorf("UDP adds up to %#x", got)
	}
}

func TestFramesOfTraffic(t *testing.T) {
	list := []*turnclient.Client{
		{Relayed: netip.AddrPortFrom(serverIP, 50000)},
		{Relayed: netip.AddrPortFrom(serverIP, 50001)},
	}
	singly := traffic{size: 160, burst: 8}
	frames, weight := singly.frames(list)
	if len(frames) != 16 || weight != 1 {
		t.Errorf("bursts: %d frames of %d, want 16 of 1", len(frames), weight)
	}
	if &frames[0][0] != &frames[7][0] || &frames[7][0] == &frames[8][0] {
		t.Error("the first eight frames belong to the first flow, and no more")
	}
	joined := traffic{size: 160, burst: 8, coalesced: true}
	frames, weight = joined.frames(list)
	if len(frames) != 2 || weight != 8 || len(frames[0]) != headersLen+8*160 {
		t.Errorf("coalesced: %d frames of %d, %d bytes", len(frames), weight, len(frames[0]))
	}
}

// Ratios are of the same round, whatever the rounds were like.
func TestCellCompares(t *testing.T) {
	r := &report{Servers: []server{{Name: "coturn"}, {Name: "rtcd"}}}
	for round, base := range []float64{100, 50, 200} {
		r.Samples = append(r.Samples,
			sample{Load: "x", Server: "coturn", Round: round, Value: base},
			sample{Load: "x", Server: "rtcd", Round: round, Value: 2 * base})
	}
	r.Samples = append(r.Samples, sample{Load: "x", Server: "rtcd", Round: 3, Err: "it broke"})
	c := r.cell("x", "rtcd")
	if want := (spread{2, 2, 2}); c.ratio != want {
		t.Errorf("ratio %v, want %v", c.ratio, want)
	}
	if want := (spread{200, 100, 400}); c.value != want {
		t.Errorf("value %v, want %v", c.value, want)
	}
	if text := c.text(true); !strings.Contains(text, "×2.00") || !strings.Contains(text, "it broke") {
		t.Errorf("text %q", text)
	}
}

func TestChartIsXML(t *testing.T) {
	r := newReport(options{rounds: 1, window: time.Second}, []server{{Name: "coturn", Version: "<4>"}, {Name: "rtcd"}}, loads())
	for _, l := range r.Loads {
		r.Samples = append(r.Samples,
			sample{Load: l.ID, Server: "coturn", Value: 1},
			sample{Load: l.ID, Server: "rtcd", Value: 3})
	}
	for d := xml.NewDecoder(strings.NewReader(r.chart())); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoadsHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range loads() {
		if seen[l.ID] || seen[l.Title] {
			t.Errorf("load %q (%s) is there twice", l.ID, l.Title)
		}
		seen[l.ID], seen[l.Title] = true, true
		if l.Unit == "" || l.run == nil {
			t.Errorf("load %q has no unit or nothing to run", l.ID)
		}
	}
}
