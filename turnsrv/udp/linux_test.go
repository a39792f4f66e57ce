//go:build linux

package udp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sendBurst sends n datagrams of a size through one batch.
func sendBurst(w Writer, s *Socket, to netip.AddrPort, n, size int) {
	w.Begin()
	head, body := []byte{0x40, 1, 2, 3}, make([]byte, size-4)
	for range n {
		w.Send(s, Message{To: to, Head: head, Body: body})
	}
	w.Flush()
	w.End()
}

// Neighbours leave joined and come joined, unless that is off.
func TestJoins(t *testing.T) {
	for _, gso := range []bool{true, false} {
		for _, gro := range []bool{true, false} {
			t.Run(fmt.Sprintf("gso=%v,gro=%v", gso, gro), func(t *testing.T) {
				sink := run(t, Options{NoGRO: !gro}, false)
				to := sink.listen("127.0.0.1:0").Addr
				src := run(t, Options{NoGSO: !gso}, false)
				w := src.Writer()
				s, err := w.Open(netip.MustParseAddrPort("127.0.0.1:0"), nil)
				if err != nil {
					t.Fatal(err)
				}
				sendBurst(w, s, to, 100, 1200)
				for _, p := range sink.want(100) {
					if len(p.b) != 1200 {
						t.Fatalf("a datagram of %d bytes", len(p.b))
					}
				}
				sent, got := src.Stats(), sink.Stats()
				if sent.WritePackets != 100 || got.ReadPackets != 100 {
					t.Errorf("counted %d sent, %d read", sent.WritePackets, got.ReadPackets)
				}
				if (sent.GSOPackets > 0) != gso || (got.GROPackets > 0) != (gso && gro) {
					t.Errorf("joined: %d sent, %d read", sent.GSOPackets, got.GROPackets)
				}
			})
		}
	}
}

// Segments that the way cannot carry go one by one, and the size is remembered.
func TestSegmentsTooLarge(t *testing.T) {
	sink := run(t, Options{}, false)
	to := sink.listen("127.0.0.1:0").Addr
	src := run(t, Options{}, false)
	l := src.Loop.(*fastLoop)
	l.segmentRefused(1000, unix.EINVAL)
	if got := l.gso.Load(); got != 999 {
		t.Fatalf("limit %d", got)
	}
	w := src.Writer()
	s, err := w.Open(netip.MustParseAddrPort("127.0.0.1:0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	sendBurst(w, s, to, 10, 1000)
	sink.want(10)
	if n := src.Stats().GSOPackets; n != 0 {
		t.Errorf("%d datagrams joined above the limit", n)
	}
	sendBurst(w, s, to, 10, 999)
	sink.want(20)
	if n := src.Stats().GSOPackets; n != 10 {
		t.Errorf("%d datagrams joined, want 10", n)
	}
	l.segmentRefused(900, unix.EIO)
	if got := l.gso.Load(); got != 0 {
		t.Errorf("limit after EIO: %d", got)
	}
}

// An ICMP error comes to the handler, and does not keep the socket from sending.
func TestICMP(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		r := run(t, Options{}, false)
		sink := run(t, Options{}, false)
		at := netip.AddrPortFrom(netip.MustParseAddr(ip), 0)
		alive := sink.listen(at.String()).Addr
		w := r.Writer()
		s, err := w.Open(at, nil)
		if err != nil {
			t.Fatal(err)
		}
		gone := dialUDP(t, alive)
		nobody := gone.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort()
		gone.Close()
		sendBurst(w, s, nobody, 3, 100)
		sendBurst(w, s, alive, 3, 100)
		sink.want(3)
		for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			r.mu.Lock()
			n := len(r.icmp)
			r.mu.Unlock()
			if n > 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("no ICMP error in a minute")
			}
		}
		want := ICMP{Type: 3, Code: 3}
		if ip == "::1" {
			want = ICMP{Type: 1, Code: 4}
		}
		if r.icmp[0] != want {
			t.Errorf("%v: %+v, want %+v", ip, r.icmp[0], want)
		}
	}
}

// A descriptor stays open while a batch may hold it, whoever removes its socket.
func TestDescriptorOutlivesBatches(t *testing.T) {
	loop, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	l := loop.(*fastLoop)
	open := func(fd int32) bool {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		return err == nil
	}
	a, b := l.Writer(), l.Writer()
	s, err := a.Open(netip.MustParseAddrPort("127.0.0.1:0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	fd := s.fast.one[0].fd
	a.Begin()
	l.Remove(s)
	b.Begin() // begins later: cannot hold it
	if !open(fd) {
		t.Fatal("closed while a batch may hold it")
	}
	b.End()
	if !open(fd) {
		t.Fatal("closed by a batch that never held it")
	}
	b.Begin()
	a.End()
	if open(fd) {
		t.Fatal("still open after the last batch that may hold it")
	}
	b.End()
}

// The kernel spreads clients over the workers.
func TestEveryWorkerListens(t *testing.T) {
	r := run(t, Options{Workers: 2}, true)
	to := r.listen("127.0.0.1:0").Addr
	for range 64 {
		c := dialUDP(t, to)
		c.Write([]byte("x"))
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := c.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen != 2 {
		t.Errorf("%d workers saw something, want 2", r.seen)
	}
}

// What a socket's buffer cannot hold is lost, and counted.
func TestOverflowIsCounted(t *testing.T) {
	loop, err := New(Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := loop.(*fastLoop)
	s, err := l.workers[0].w.Open(netip.MustParseAddrPort("127.0.0.1:0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	unix.SetsockoptInt(int(s.fast.one[0].fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096)
	c := dialUDP(t, s.Addr)
	const sent = 200
	for range sent {
		c.Write(make([]byte, 500))
	}
	r := &running{Loop: loop, t: t}
	startLoop(t, r)
	// The count comes with the next datagram that is taken.
	for end := time.Now().Add(time.Minute); l.Stats().Overflows == 0; time.Sleep(time.Millisecond) {
		c.Write(make([]byte, 500))
		if time.Now().After(end) {
			t.Fatal("no overflow counted")
		}
	}
}

// Writing allocates nothing, joined or not. Nobody reads meanwhile.
func TestWriterDoesNotAllocate(t *testing.T) {
	src, err := New(Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	w := src.Writer()
	s, err := w.Open(netip.MustParseAddrPort("127.0.0.1:0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	head, body := []byte{0x40, 1, 2, 3}, make([]byte, 1000)
	allocs := testing.AllocsPerRun(100, func() {
		w.Begin()
		for range 20 {
			w.Send(s, Message{To: s.Addr, Head: head, Body: body})
		}
		w.Flush()
		w.Send(s, Message{To: s.Addr, Body: body})
		w.Flush()
		w.Send(s, Message{To: s.Addr, Body: body, DontFragment: true})
		w.Flush()
		w.End()
	})
	if allocs != 0 {
		t.Errorf("%v allocations per batch", allocs)
	}
}
