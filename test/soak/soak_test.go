//go:build linux

package soak

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

// What arrives is judged by its number, whatever happened on the way.
func TestArrivals(t *testing.T) {
	const size = 20
	var wire [][]byte
	s := &stream{id: 7, size: size, unit: 4 + size, frame: make([]byte, 2*(4+size)), write: func(b []byte) error {
		for packet := range slices.Chunk(bytes.Clone(b), 4+size) {
			wire = append(wire, packet[4:])
		}
		return nil
	}}
	for range 100 {
		if err := s.send(); err != nil {
			t.Fatal(err)
		}
	}
	for i, b := range wire {
		switch i {
		case 10: // is lost
		case 20: // comes twice
			s.take(b)
			s.take(b)
		case 30: // comes late
		case 31:
			s.take(b)
			s.take(wire[30])
		case 40: // is damaged
			b[size-1]++
			s.take(b)
		case 50: // is cut
			s.take(b[:size-1])
		case 60: // belongs to others
			b[3]++
			s.take(b)
		default:
			s.take(b)
		}
	}
	want := arrivalCounts{received: 200 - 4, duplicates: 1, reordered: 1, corrupt: 3}
	if got := s.in.arrivalCounts; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseProc(t *testing.T) {
	const text = `Ip: Forwarding InDiscards
Ip: 1 5
Udp: InDatagrams NoPorts RcvbufErrors
Udp: 1000 2 30
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    1    0     0          0         0        0       0    0    0    0     0       0          0
  eth0: 1000000    9000    0    9    0     0          0         0  1000000    9000    0    7    0     0       0          0
`
	got := counters{}
	if err := parseProc("ns", []byte(text), got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"ns Ip InDiscards": 5, "ns Udp NoPorts": 2, "ns Udp RcvbufErrors": 30, "ns device dropped": 7,
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
	for _, broken := range []string{"", "Ip: A B\nIp: 1\nUdp: A\nUdp: 1\n"} {
		if parseProc("ns", []byte(broken), counters{}) == nil {
			t.Errorf("no error for %q", broken)
		}
	}
}

// The verdict names each thing that is wrong, and only that.
func TestReportErr(t *testing.T) {
	good := func() *Report {
		s := Sample{Resident: 30 << 20, Goroutines: 20, Descriptors: 100}
		r := &Report{Sent: 10, Received: 9, Losses: []Loss{{"rtcd: queue_full", 1}}, Idle: s, Released: s}
		for i := range 3 {
			s.At = time.Duration(i) * time.Second
			r.Samples = append(r.Samples, s)
		}
		return r
	}
	if err := good().Err(); err != nil {
		t.Errorf("nothing is wrong, but: %v", err)
	}
	for words, spoil := range map[string]func(*Report){
		"unexplained":        func(r *Report) { r.Unexplained = -1 },
		"came twice":         func(r *Report) { r.Duplicates = 1 },
		"after later ones":   func(r *Report) { r.Reordered = 1 },
		"otherwise":          func(r *Report) { r.Corrupt = 1 },
		"allocations are":    func(r *Report) { r.Left = 1 },
		"memory grew":        func(r *Report) { r.Samples[2].Resident *= 1.5 },
		"goroutines grew":    func(r *Report) { r.Samples[2].Goroutines += 50 },
		"descriptors grew":   func(r *Report) { r.Samples[2].Descriptors += 50 },
		"descriptors before": func(r *Report) { r.Idle.Descriptors -= 50 },
	} {
		r := good()
		spoil(r)
		err := r.Err()
		if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v", words, err)
		}
	}
}
