package relay

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

func TestBinding(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.unsigned = true
	got := c.request(stun.MethodBinding).want(0)
	if a := got.address(stun.AttrXORMappedAddress); a != c.client.Addr {
		t.Errorf("mapped address %v, want %v", a, c.client.Addr)
	}
	if got.size != 40 {
		t.Errorf("a Binding answer has %d bytes, want 40", got.size)
	}
	c.request(stun.MethodBinding, raw(0x0003, 0, 0, 0, 6)).want(420) // CHANGE-REQUEST
	m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodBinding, stun.ClassIndication))
	c.send(m.Raw)
	w.wantSilence("a Binding indication")
	classic := bytes.Clone(m.Raw)
	classic[1], classic[4] = 1, 0 // RFC 3489: a request without the cookie
	c.send(classic)
	w.wantSilence("a request without the magic cookie")
}

func TestCapsOnPermissionsAndChannels(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Policy.Limits.Permissions, o.Policy.Limits.Channels = 3, 2 })
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	ip := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, 22, 44, byte(i)}), 9)
	}
	c.permit(ip(1), ip(2), ip(3), ip(4)).want(508)
	w.take()
	c.sendIndication(ip(1), "x")
	w.wantSilence("nothing of a refused CreatePermission is installed")
	c.permit(ip(1), ip(2)).want(0)
	c.permit(ip(1), ip(2)).want(0) // a refresh takes no place
	c.bind(0x4000, ip(1)).want(0)
	c.bind(0x4001, ip(3)).want(0)
	c.bind(0x4002, ip(2)).want(508) // channels
	c.permit(ip(4)).want(508)
	w.pass(5*time.Minute + time.Second)
	c.permit(ip(4)).want(0) // the others have expired
}

// Who scans by way of permissions is slowed down; who sets up many calls at once is not.
func TestNewPeersOfAnAllocationArePaced(t *testing.T) {
	for _, test := range []struct {
		name      string
		rate      Rate
		atOnce    int           // new peers until the first refusal
		each      time.Duration // that one more takes
		unlimited bool
	}{
		{name: "by default", atOnce: 64, each: time.Second / 5},
		{name: "two a minute", rate: Rate{2, time.Minute}, atOnce: 64, each: 30 * time.Second},
		{name: "unlimited", rate: Rate{N: -1}, unlimited: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, func(o *Options) {
				o.Policy.Limits.NewPeers, o.Policy.Limits.Permissions, o.Policy.Limits.Channels = test.rate, -1, -1
			})
			c, other := w.caller("alice", "11.22.33.101:1000"), w.caller("alice", "11.22.33.101:1001")
			c.mustAllocate()
			other.mustAllocate()
			n := 0
			next := func() netip.AddrPort {
				n++
				return netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, 22, 44 + byte(n>>8), byte(n)}), 9)
			}
			if test.unlimited {
				for range 1000 {
					c.permit(next()).want(0)
				}
				if met := w.table.Allocations()[0].Peers; met != 1000 {
					t.Errorf("%d peers were met, want 1000", met)
				}
				return
			}
			first := next()
			c.permit(first).want(0)
			for range test.atOnce/2 - 1 {
				c.permit(next()).want(0)
				c.permit(first).want(0) // a refresh takes none
			}
			for i := range test.atOnce / 2 {
				c.bind(0x4000+uint16(i), next()).want(0)
			}
			c.permit(next()).want(508)
			c.bind(0x5000, next()).want(508)
			c.permit(first).want(0)
			c.permit(first, next()).want(508) // all or none
			other.permit(next()).want(0)      // each allocation has its own
			w.pass(test.each)
			c.permit(next(), next()).want(508)
			c.permit(next()).want(0)
			c.permit(next()).want(508)
			for _, i := range w.table.Allocations() {
				if want := map[bool]int{true: test.atOnce + 1, false: 1}[i.Client == c.client.Addr]; i.Peers != want {
					t.Errorf("%v has met %d peers, want %d", i.Client, i.Peers, want)
				}
			}
			if n := w.outcome("permission_denied", "pace"); n != 5 {
				t.Errorf("%d refusals are counted, want 5", n)
			}
		})
	}
}

func TestSourceThatIsARelayedAddressIsNotAnswered(t *testing.T) {
	w := newWorld(t)
	a := w.caller("alice", "11.22.33.101:1000")
	a.mustAllocate()
	loop := w.caller("bob", a.relay.String())
	w.take()
	loop.send(loop.message(stun.MethodAllocate, attrs{udpTransport}).Raw)
	w.wantSilence("a request from one of our own relayed addresses")
}

func TestKillAndDisconnect(t *testing.T) {
	w := newWorld(t)
	a, b := w.caller("alice", "11.22.33.101:1000"), w.connected("alice", "11.22.33.101:1001", TCP)
	a.mustAllocate()
	b.mustAllocate()
	if !b.client.Authenticated() || !b.client.HasAllocation() {
		t.Error("the connection does not know that it authenticated")
	}
	w.table.ClientGone(w.now, b.client, &w.batch)
	w.flush()
	if w.lastEvent() != "closed alice disconnected" {
		t.Error(w.lastEvent())
	}
	if n := w.table.KillUser(w.now, "alice", "kicked", &w.batch); n != 1 {
		t.Errorf("killed %d, want 1", n)
	}
	w.flush()
	if w.lastEvent() != "closed alice kicked" || w.table.Len() != 0 || len(w.closed) != 2 {
		t.Error(w.lastEvent())
	}
	a.refresh().want(437)
}

// Whoever keeps accounts hears of each allocation's life, of all its bytes in the end.
func TestEventsTellTheBytes(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	c.channelData(0x4000, "12345")
	c.fromPeer(peerA, "123")
	c.refresh(lifetime(900)).want(0)
	c.fromPeer(peerA, "4567")
	w.pass(900 * time.Second)
	var got []string
	for _, e := range w.events {
		i := e.Info
		got = append(got, fmt.Sprintf("%v %s %v at %v by %v: %d/%d sent, %d/%d received, %s", e.Kind, i.User, i.Client, i.Relays, i.Transport,
			i.SentBytes, i.SentPackets, i.ReceivedBytes, i.ReceivedPackets, e.Reason))
	}
	who := fmt.Sprintf("alice 11.22.33.101:1000 at %v by udp", []netip.AddrPort{c.relay})
	want := []string{
		"allocated " + who + ": 0/0 sent, 0/0 received, ",
		"refreshed " + who + ": 5/1 sent, 3/1 received, ",
		"closed " + who + ": 5/1 sent, 7/2 received, expired",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDisconnectWhileTheSocketOpens(t *testing.T) {
	w := newWorld(t)
	c := w.connected("alice", "11.22.33.101:1001", TLS)
	c.exchangeChallenge()
	w.hold = true
	c.send(c.message(stun.MethodAllocate, attrs{udpTransport}).Raw)
	w.table.ClientGone(w.now, c.client, &w.batch)
	w.open(w.held[0])
	w.take()
	w.flush()
	w.wantSilence("an answer to nobody")
	if len(w.closed) != 1 || w.table.Len() != 0 || w.table.quota.total != 0 {
		t.Errorf("%d closed, %d allocations, quota %d", len(w.closed), w.table.Len(), w.table.quota.total)
	}
}

func TestRevokedWhileTheSocketOpens(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1001")
	c.exchangeChallenge()
	w.hold = true
	m := c.message(stun.MethodAllocate, attrs{udpTransport})
	c.send(m.Raw)
	w.keys[c.username] = Login{Verdict: Revoked}
	w.take()
	w.open(w.held[0])
	w.flush()
	got := w.take()
	if len(got) != 1 || c.decode(m, got[0]).code != 401 || len(w.closed) != 1 || w.table.Len() != 0 {
		t.Errorf("a revoked user got %d answers, %d closed, %d allocations", len(got), len(w.closed), w.table.Len())
	}
}
