package lab_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rtcd/test/lab"
)

func newNet(t *testing.T) (*lab.Net, *lab.Node, *lab.Node) {
	t.Helper()
	n, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	a, err := n.Add("a", 10)
	if err != nil {
		t.Fatal(err)
	}
	b, err := n.Add("b", 20)
	if err != nil {
		t.Fatal(err)
	}
	return n, a, b
}

// pass sends one datagram to the receiver and reports whether it came.
func pass(t *testing.T, from *lab.Node, to net.PacketConn, patience time.Duration) bool {
	t.Helper()
	c, err := from.Dial(t.Context(), "udp", to.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	size, _, err := to.ReadFrom(buf)
	return err == nil && string(buf[:size]) == "hello"
}

func TestNodesReachEachOtherUnlessTheFirewallDrops(t *testing.T) {
	n, a, b := newNet(t)
	for _, ip := range []netip.Addr{b.IP4, b.IP6} {
		c, err := b.ListenPacket(t.Context(), netip.AddrPortFrom(ip, 4000).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if !pass(t, a, c, 10*time.Second) {
			t.Errorf("a datagram to %s did not arrive", c.LocalAddr())
		}
		if err := n.Firewall("udp dport 4000 drop"); err != nil {
			t.Fatal(err)
		}
		if pass(t, a, c, 200*time.Millisecond) {
			t.Errorf("a datagram to %s passed the firewall", c.LocalAddr())
		}
		if err := n.Firewall(""); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProgramsKnowTheNames(t *testing.T) {
	n, a, b := newNet(t)
	if err := n.Name("b.test", b.IP4); err != nil {
		t.Fatal(err)
	}
	out, err := a.Command(t.Context(), "getent", "ahosts", "b.test").CombinedOutput()
	if err != nil || !strings.Contains(string(out), b.IP4.String()) {
		t.Errorf("getent says %q, %v; want %s", out, err, b.IP4)
	}
}

func TestIssuedCertificateIsTrusted(t *testing.T) {
	ca, err := lab.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile, err := ca.Issue([]string{"b.test"})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe()
	defer here.Close()
	serverDone := make(chan error, 1)
	// Ends with the handshake.
	go func() {
		serverDone <- tls.Server(there, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
	}()
	client := tls.Client(here, &tls.Config{RootCAs: ca.Pool(), ServerName: "b.test"})
	if err := client.Handshake(); err != nil {
		t.Error(err)
	}
	if err := <-serverDone; err != nil {
		t.Error(err)
	}
}

func TestProcessIsAwaitedAndStopped(t *testing.T) {
	_, a, _ := newNet(t)
	p, err := lab.Start(a.Command(context.Background(), "sh", "-c", "echo ready 42; sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Await(t.Context(), `ready (\d+)`)
	if err != nil || m[1] != "42" {
		t.Errorf("Await = %q, %v", m, err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := p.Await(t.Context(), "never said"); err == nil {
		t.Error("Await of a stopped process does not fail")
	}
}
