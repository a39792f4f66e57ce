package turnsrv

import (
	"net"
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

// linkLocals are this machine's link-local addresses with their zones, if it has any.
func linkLocals(t testing.TB) (out []netip.Addr) {
	t.Helper()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		list, _ := i.Addrs()
		for _, a := range list {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
				out = append(out, p.Addr().WithZone(i.Name))
			}
		}
	}
	return out
}

// A link-local client is answered, which takes the zone that it came from, on a
// listener of such an address and on a wildcard, and may have an allocation.
func TestLinkLocalClients(t *testing.T) {
	for _, ip := range linkLocals(t) {
		for _, plain := range []bool{false, true} {
			for _, bind := range []string{"[" + ip.String() + "]", "[::]"} {
				o := testOptions(everyListener(bind)...)
				o.UDP.Plain = plain
				s := serve(t, o)
				for _, tr := range transports {
					to := netip.AddrPortFrom(ip, s.Addrs(tr)[0].Port())
					c := dialAt(t, to, tr)
					a := c.roundTrip(stun.MustBuild(stun.TransactionID, stun.BindingRequest))
					var mapped stun.XORMappedAddress
					if err := mapped.GetFrom(a); err != nil || mapped.IP.String() != ip.WithZone("").String() {
						t.Errorf("%v at %v: mapped address %v, %v", tr, bind, mapped, err)
					}
					peer := echo(t, "127.0.0.1:0")
					c.allocate(1)
					c.bind(0x4000, peer)
					c.write(c.channelData(0x4000, []byte("hello")))
					c.wantChannelData(0x4000, []byte("hello"))
				}
			}
		}
	}
}
