package udp

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// During a lull datagrams wake nobody; its end and its timer do.
func TestLull(t *testing.T) {
	loop, err := New(Options{Workers: 1, Coalesce: MaxCoalesce})
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	k := loop.(*fastLoop).workers[0]
	s, err := k.w.Open(netip.MustParseAddrPort("127.0.0.1:0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	awake := func(timeout time.Duration) bool {
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(k.lull.fd), Events: unix.POLLIN}}, int(timeout.Milliseconds()))
			if err != unix.EINTR {
				return n > 0
			}
		}
	}
	if awake(0) {
		t.Fatal("awake without a datagram")
	}
	k.lull.begin(time.Hour)
	dialUDP(t, s.Addr).Write([]byte("x"))
	if awake(0) {
		t.Error("a datagram ends the lull")
	}
	if !k.lull.end() {
		t.Error("the worker is not told to look for what came during the lull")
	}
	if k.lull.end() {
		t.Error("a lull ends twice")
	}
	if !awake(0) {
		t.Error("a datagram wakes nobody after the lull")
	}
	k.lull.begin(time.Hour)
	k.lull.begin(time.Millisecond)
	if !awake(10 * time.Second) {
		t.Error("the timer does not end the lull")
	}
}
