package lab_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rtcd/test/lab"
)

// home makes a net with one home and two nodes outside, one of which listens on two ports.
func home(t *testing.T, kinds ...lab.NATKind) (s *lab.NAT, client, near, sibling, far net.PacketConn) {
	t.Helper()
	n, a, b := newNet(t)
	s, err := n.AddNAT("home", 101, kinds...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, listen(t, s.Client, ":5000"), listen(t, a, ":4000"), listen(t, a, ":4001"), listen(t, b, ":4000")
}

func listen(t *testing.T, node *lab.Node, port string) net.PacketConn {
	t.Helper()
	c, err := node.ListenPacket(t.Context(), node.IP4.String()+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

const (
	generous = 10 * time.Second       // for what should come
	short    = 200 * time.Millisecond // for what should not
)

// tell sends a datagram and returns from which address it arrived, the zero one if it did not.
func tell(t *testing.T, from net.PacketConn, to net.Addr, at net.PacketConn, patience time.Duration) netip.AddrPort {
	t.Helper()
	word := time.Now().String()
	if _, err := from.WriteTo([]byte(word), to); err != nil {
		t.Fatal(err)
	}
	if err := at.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for {
		n, source, err := at.ReadFrom(buf)
		if err != nil {
			return netip.AddrPort{}
		}
		if string(buf[:n]) == word {
			return source.(*net.UDPAddr).AddrPort()
		}
	}
}

func TestNATKinds(t *testing.T) {
	for _, c := range []struct {
		kinds                    []lab.NATKind
		oneMapping               bool // for all destinations
		siblingEnters, farEnters bool
	}{
		{[]lab.NATKind{lab.FullCone}, true, true, true},
		{[]lab.NATKind{lab.Restricted}, true, true, false},
		{[]lab.NATKind{lab.PortRestricted}, true, false, false},
		{[]lab.NATKind{lab.Symmetric}, false, false, false},
		{[]lab.NATKind{lab.FullCone, lab.FullCone}, true, true, true},
		{[]lab.NATKind{lab.Symmetric, lab.FullCone}, false, false, false},
	} {
		var name []string
		for _, k := range c.kinds {
			name = append(name, string(k))
		}
		t.Run(strings.Join(name, " behind "), func(t *testing.T) {
			s, client, near, sibling, far := home(t, c.kinds...)
			mapped := tell(t, client, near.LocalAddr(), near, generous)
			if mapped.Addr() != s.Public() {
				t.Fatalf("seen as %s, want %s", mapped, s.Public())
			}
			to := net.UDPAddrFromAddrPort(mapped)
			if !tell(t, near, to, client, generous).IsValid() {
				t.Error("an answer does not come back")
			}
			if got := tell(t, sibling, to, client, patience(c.siblingEnters)).IsValid(); got != c.siblingEnters {
				t.Errorf("another port of the same address enters: %v, want %v", got, c.siblingEnters)
			}
			if got := tell(t, far, to, client, patience(c.farEnters)).IsValid(); got != c.farEnters {
				t.Errorf("another address enters: %v, want %v", got, c.farEnters)
			}
			if second := tell(t, client, far.LocalAddr(), far, generous); (second == mapped) != c.oneMapping {
				t.Errorf("one mapping for all: %v, want %v (%s, then %s)", second == mapped, c.oneMapping, mapped, second)
			}
		})
	}
}

func patience(wanted bool) time.Duration {
	if wanted {
		return generous
	}
	return short
}

// A peer that knocks before the client has sent to it must not take the port from the client's mapping.
func TestAnEarlyKnockLeavesTheMapping(t *testing.T) {
	_, client, near, _, far := home(t, lab.PortRestricted)
	mapped := tell(t, client, near.LocalAddr(), near, generous)
	if tell(t, far, net.UDPAddrFromAddrPort(mapped), client, short).IsValid() {
		t.Fatal("the knock entered")
	}
	if second := tell(t, client, far.LocalAddr(), far, generous); second != mapped {
		t.Errorf("mapped to %s, then to %s", mapped, second)
	}
}

func TestNATForgetsMovesAndBlocks(t *testing.T) {
	s, client, near, _, _ := home(t, lab.PortRestricted)
	old := s.Public()
	mapped := net.UDPAddrFromAddrPort(tell(t, client, near.LocalAddr(), near, generous))
	if err := s.Rebind(); err != nil {
		t.Fatal(err)
	}
	if tell(t, near, mapped, client, short).IsValid() {
		t.Error("the mapping outlives a rebind")
	}
	if err := s.Readdress(); err != nil {
		t.Fatal(err)
	}
	if got := tell(t, client, near.LocalAddr(), near, generous); got.Addr() != s.Public() || s.Public() == old {
		t.Errorf("seen as %s after the public address changed from %s to %s", got, old, s.Public())
	}
	if err := s.Roam(); err != nil {
		t.Fatal(err)
	}
	moved := listen(t, s.Client, ":5000")
	if got := tell(t, moved, near.LocalAddr(), near, generous); got.Addr() != old {
		t.Errorf("seen as %s after coming back to %s", got, old)
	}
	if err := s.Block(lab.BlockUDP); err != nil {
		t.Fatal(err)
	}
	if tell(t, moved, near.LocalAddr(), near, short).IsValid() {
		t.Error("UDP passes although it is blocked")
	}
	if err := s.Block(lab.BlockNone); err != nil {
		t.Fatal(err)
	}
	if !tell(t, moved, near.LocalAddr(), near, generous).IsValid() {
		t.Error("UDP does not pass although it is free again")
	}
}

func TestBadLine(t *testing.T) {
	s, client, near, _, _ := home(t, lab.PortRestricted)
	const delay = 50 * time.Millisecond
	if err := s.Impair(lab.Impairment{Delay: delay}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	mapped := tell(t, client, near.LocalAddr(), near, generous)
	if took := time.Since(begin); mapped.Addr() != s.Public() || took < delay {
		t.Errorf("seen as %s after %v; want %s after %v or more", mapped, took, s.Public(), delay)
	}
	if err := s.Readdress(); err != nil {
		t.Fatal(err)
	}
	if got := tell(t, client, near.LocalAddr(), near, generous); got.Addr() != s.Public() {
		t.Errorf("seen as %s; want %s", got, s.Public())
	}
	if err := s.Impair(lab.Impairment{Loss: 1}); err != nil {
		t.Fatal(err)
	}
	if tell(t, client, near.LocalAddr(), near, short).IsValid() {
		t.Error("a datagram passed a line that loses all")
	}
}

func TestASecondAddress(t *testing.T) {
	n, a, b := newNet(t)
	second, err := n.AddAddress(b, 21)
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.ListenPacket(t.Context(), second.String()+":4000")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !pass(t, a, c, generous) {
		t.Errorf("a datagram to %s did not arrive", c.LocalAddr())
	}
}
