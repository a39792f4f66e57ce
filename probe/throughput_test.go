package probe

import (
	"testing"
	"time"
)

func TestThroughput(t *testing.T) {
	s := startServer(t)
	for _, url := range []string{s.udp, s.tcp, s.tls} {
		r := probe(t, url, Options{
			Username: user, Credential: password, Packets: 3, Interval: time.Millisecond, Roots: s.roots, Timeout: time.Minute, Throughput: 300 * time.Millisecond,
		})
		got := r.Throughput
		if !r.OK || got == nil {
			t.Fatalf("%s: %+v", url, r)
		}
		if got.Mbps <= 0 || got.Received < 2 || got.Received > got.Sent || got.Bytes != 1200 || got.Loss < 0 || got.Loss >= 1 {
			t.Errorf("%s: %+v", url, got)
		}
		if last := r.Steps[len(r.Steps)-1]; last.Name != "throughput" || !last.OK {
			t.Errorf("%s: %+v", url, r.Steps)
		}
	}
}

// The window doubles until the first loss, is halved once for all losses of a round trip,
// and begins anew after a silence.
func TestWindow(t *testing.T) {
	w := window{size: 4, slow: true}
	fill := func(want int) {
		t.Helper()
		n := 0
		for ; w.open(); n++ {
			w.sent++
		}
		if n != want {
			t.Fatalf("%d packets set out, want %d: %+v", n, want, w)
		}
	}
	fill(4)
	w.take(receipt{highest: 4, count: 4})
	fill(8)
	w.take(receipt{highest: 12, count: 12})
	fill(16)
	w.take(receipt{highest: 20, count: 18}) // 2 are missing of 13 to 20; 8 are on their way
	if w.size != 8 {
		t.Fatalf("the window after a loss: %v", w.size)
	}
	w.take(receipt{highest: 24, count: 20}) // and 2 more of the same window
	if w.size != 8 {
		t.Fatalf("the window after another loss of it: %v", w.size)
	}
	fill(4)
	w.take(receipt{highest: 32, count: 28})
	if w.size != 9 {
		t.Fatalf("the window after a round trip without loss: %v", w.size)
	}
	w.take(receipt{highest: 30, count: 26}) // an old one
	fill(9)
	w.restart()
	fill(firstWindow)
	w.take(receipt{highest: 57, count: 44}) // the 9 before the silence were lost
	if w.size != 2*firstWindow {
		t.Errorf("losses before the silence are answered after it: %+v", w)
	}
	for range 20 {
		for w.open() {
			w.sent++
		}
		w.take(receipt{highest: w.sent, count: w.count + w.sent - w.highest})
	}
	if w.size != mostWindow {
		t.Errorf("the largest window is %v", w.size)
	}
}
