package testnet

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	a = netip.MustParseAddrPort("10.0.0.1:1000")
	b = netip.MustParseAddrPort("10.0.0.2:2000")
)

func packets(t *testing.T, n *Net, addr netip.AddrPort) *Packets {
	t.Helper()
	p, err := n.ListenPacket(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestDatagramsArriveWithTheirAddresses(t *testing.T) {
	n := New()
	p, q := packets(t, n, a), packets(t, n, netip.AddrPortFrom(netip.IPv4Unspecified(), b.Port()))
	if err := p.Write([]byte("hello"), b, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	m, from, to, err := q.Read(buf)
	if err != nil || string(buf[:m]) != "hello" || from != a || to != b.Addr() {
		t.Fatalf("%q from %v to %v, %v", buf[:m], from, to, err)
	}
	q.Write([]byte("back"), from, to) // a wildcard socket answers from where it was asked
	if _, from, _, _ := p.Read(buf); from != b {
		t.Errorf("answer from %v", from)
	}
	if _, err := n.ListenPacket(a); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("bound twice: %v", err)
	}
	p.Close()
	packets(t, n, a) // free again
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		l, err := n.Listen(b)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := n.Dial(a, b)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p := packets(t, n, a)
		for name, f := range map[string]func() error{
			"datagram": func() error {
				p.SetReadDeadline(time.Now().Add(time.Minute))
				_, _, _, err := p.Read(nil)
				return err
			},
			"stream read": func() error {
				c.SetReadDeadline(time.Now().Add(time.Minute))
				_, err := c.Read(make([]byte, 1))
				return err
			},
			"stream write": func() error {
				c.SetWriteDeadline(time.Now().Add(time.Minute))
				_, err := c.Write(make([]byte, streamBuffer+1))
				return err
			},
		} {
			start := time.Now()
			if err := f(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
				t.Errorf("%s: %v after %v", name, err, time.Since(start))
			}
		}
	})
}

func TestStreams(t *testing.T) {
	n := New()
	if _, err := n.Dial(a, b); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	l, err := n.Listen(b)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := n.Dial(a, b)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if theirs.RemoteAddr().String() != a.String() || theirs.LocalAddr().String() != b.String() {
		t.Errorf("%v to %v", theirs.RemoteAddr(), theirs.LocalAddr())
	}
	ours.Write([]byte("hello"))
	ours.Close()
	if got, err := io.ReadAll(theirs); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
}
