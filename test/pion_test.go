package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"github.com/pion/transport/v4/stdnet"
	"github.com/pion/turn/v4"

	"rtcd/test/lab"
)

// packets makes a packet connection of a connected one that keeps message boundaries (DTLS).
type packets struct{ net.Conn }

func (p packets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.Read(b)
	return n, p.RemoteAddr(), err
}

func (p packets) WriteTo(b []byte, _ net.Addr) (int, error) { return p.Write(b) }

// frames cuts a stream into STUN messages and ChannelData (RFC 8656, sections 2.1 and 12.5). pion's own STUNConn
// waits for a ninth byte, which the shortest ChannelData does not have.
type frames struct{ net.Conn }

func (f frames) ReadFrom(b []byte) (int, net.Addr, error) {
	if _, err := io.ReadFull(f, b[:4]); err != nil {
		return 0, nil, err
	}
	size := int(binary.BigEndian.Uint16(b[2:4]))
	rest, frame := (size+3)&^3, 4+size // ChannelData is padded on streams, and its padding is not part of it
	if b[0]>>6 == 0 {
		rest, frame = 16+size, 20+size
	}
	if 4+rest > len(b) {
		return 0, nil, fmt.Errorf("a frame of %d bytes", 4+rest)
	}
	_, err := io.ReadFull(f, b[4:4+rest])
	return frame, f.RemoteAddr(), err
}

func (f frames) WriteTo(b []byte, _ net.Addr) (int, error) {
	padded := append(slices.Clone(b), make([]byte, -len(b)&3)...)
	if _, err := f.Write(padded); err != nil {
		return 0, err
	}
	return len(b), nil
}

// anyFamily is a network that resolves addresses of both families; pion's client asks for IPv4 alone.
type anyFamily struct{ *stdnet.Net }

func (anyFamily) ResolveUDPAddr(_, address string) (*net.UDPAddr, error) {
	return net.ResolveUDPAddr("udp", address)
}

// reach opens a way from the node to the server for pion's client.
func reach(ctx context.Context, node *lab.Node, to target, tr transport, f family) (net.PacketConn, error) {
	server := netip.AddrPortFrom(to.ip(f), tr.port()).String()
	switch tr {
	case overUDP:
		return node.ListenPacket(ctx, netip.AddrPortFrom(own(node, f), 0).String())
	case overDTLS:
		raw, err := node.ListenPacket(ctx, netip.AddrPortFrom(own(node, f), 0).String())
		if err != nil {
			return nil, err
		}
		conn, err := dtls.ClientWithOptions(raw, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.ip(f), tr.port())),
			dtls.WithRootCAs(world.ca.Pool()), dtls.WithServerName(hostBoth))
		if err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		return packets{conn}, conn.HandshakeContext(ctx)
	case overTLS:
		raw, err := node.Dial(ctx, "tcp", server)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(raw, &tls.Config{RootCAs: world.ca.Pool(), ServerName: hostBoth})
		return frames{conn}, conn.HandshakeContext(ctx)
	case overTCP:
		conn, err := node.Dial(ctx, "tcp", server)
		if err != nil {
			return nil, err
		}
		return frames{conn}, nil
	}
	return nil, fmt.Errorf("no transport %q", tr)
}

// pionClient is pion's TURN client in the node, listening.
func pionClient(t *testing.T, node *lab.Node, to target, tr transport, f family) *turn.Client {
	t.Helper()
	conn, err := reach(patient(t), node, to, tr, f)
	if err != nil {
		t.Fatal(err)
	}
	std, err := stdnet.NewNet()
	if err != nil {
		t.Fatal(err)
	}
	server := netip.AddrPortFrom(to.ip(f), tr.port()).String()
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server, TURNServerAddr: server,
		Username: to.user, Password: to.password,
		Conn: conn, Net: anyFamily{std}, LoggerFactory: logging.NewDefaultLoggerFactory(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); _ = conn.Close() })
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	return client
}

// allocate returns a relayed socket that is closed at the end of the test.
func allocate(t *testing.T, client *turn.Client) net.PacketConn {
	t.Helper()
	relay, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := relay.Close(); err != nil {
			t.Errorf("close the allocation: %v", err)
		}
	})
	return relay
}

// startEcho answers every datagram in the node with itself.
func startEcho(t *testing.T, node *lab.Node) net.Addr {
	t.Helper()
	conn, err := node.ListenPacket(t.Context(), netip.AddrPortFrom(node.IP4, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	// Ends when the socket is closed.
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(buf[:n], from)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return conn.LocalAddr()
}

// wantEcho sends messages of growing size, one at a time, and wants each back. The client begins with
// Send indications and goes over to a channel by itself.
func wantEcho(t *testing.T, relay net.PacketConn, peer net.Addr) {
	t.Helper()
	buf := make([]byte, 65536)
	for i, size := range []int{1, 2, 3, 4, 5, 63, 64, 65, 500, 1000, 1200, 1399, 1400} {
		sent := make([]byte, size)
		_, _ = rand.Read(sent)
		if _, err := relay.WriteTo(sent, peer); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if err := relay.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, from, err := relay.ReadFrom(buf)
		if err != nil {
			t.Fatalf("message %d of %d bytes did not come back: %v", i, size, err)
		}
		if from.String() != peer.String() || !bytes.Equal(buf[:n], sent) {
			t.Fatalf("message %d: %d bytes from %s; want the %d sent to %s", i, n, from, size, peer)
		}
	}
}

func TestPionClientEchoes(t *testing.T) {
	to := startRTCD(t, unlimited).target(t)
	peer := startEcho(t, world.bob)
	for _, tr := range allTransports {
		for _, f := range families {
			t.Run(string(tr)+"/"+string(f), func(t *testing.T) {
				client := pionClient(t, world.alice, to, tr, f)
				seen, err := client.SendBindingRequest()
				if err != nil {
					t.Fatal(err)
				}
				if got := netip.MustParseAddrPort(seen.String()).Addr(); got != own(world.alice, f) {
					t.Errorf("reflexive address %s; want %s", got, own(world.alice, f))
				}
				relay := allocate(t, client)
				if got := netip.MustParseAddrPort(relay.LocalAddr().String()); got.Addr() != world.server.IP4 {
					t.Errorf("relayed address %s; want one on %s", got, world.server.IP4)
				}
				wantEcho(t, relay, peer)
			})
		}
	}
}

// Two clients behind the same relay, on every pair of transports that differ.
func TestPionClientsReachEachOther(t *testing.T) {
	to := startRTCD(t, unlimited).target(t)
	for i, tr := range allTransports {
		other := allTransports[(i+1)%len(allTransports)]
		t.Run(string(tr)+" to "+string(other), func(t *testing.T) {
			near := allocate(t, pionClient(t, world.alice, to, tr, ip4))
			farClient := pionClient(t, world.bob, to, other, ip6)
			far := allocate(t, farClient)
			if err := farClient.CreatePermission(near.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			// Ends when the allocation is closed.
			go func() {
				defer close(done)
				buf := make([]byte, 65536)
				for {
					n, from, err := far.ReadFrom(buf)
					if err != nil {
						return
					}
					_, _ = far.WriteTo(buf[:n], from)
				}
			}()
			t.Cleanup(func() { _ = far.SetReadDeadline(time.Now()); <-done })
			wantEcho(t, near, far.LocalAddr())
		})
	}
}

func TestPionClientIsRefused(t *testing.T) {
	to := startRTCD(t, unlimited).target(t)
	expired := to
	expired.user = "1000000000:" + strings.SplitN(to.user, ":", 2)[1]
	wrong := to
	wrong.password = "wrong"
	for name, bad := range map[string]target{"wrong password": wrong, "expired": expired} {
		for _, tr := range allTransports {
			t.Run(name+"/"+string(tr), func(t *testing.T) {
				_, err := pionClient(t, world.alice, bad, tr, ip4).Allocate()
				if err == nil || !strings.Contains(err.Error(), "401") {
					t.Errorf("Allocate: %v; want a 401", err)
				}
			})
		}
	}
}
