package turnsrv

import (
	"net"
	"testing"

	"github.com/pion/stun/v3"
)

// A peer's port that nobody listens on shows to the client as an ICMP attribute
// (RFC 8656 section 11.5), whatever the transport and the family.
func TestICMPReachesTheClient(t *testing.T) {
	s := serve(t, testOptions(everyListener("127.0.0.1")...))
	const icmp = stun.AttrType(0x8004)
	for family, ip := range map[byte]string{1: "127.0.0.1:0", 2: "[::1]:0"} {
		for _, tr := range transports {
			pc, err := net.ListenPacket("udp", ip)
			if err != nil {
				t.Fatal(err)
			}
			nobody := addrPort(pc.LocalAddr())
			pc.Close()
			c := dial(t, s, tr)
			c.allocate(family, raw(stun.AttrDontFragment))
			c.permit(nobody)
			c.write(sendIndication(nobody, []byte("hello")))
			b, err := c.read()
			if err != nil {
				t.Fatalf("%v, family %d: %v", tr, family, err)
			}
			m := &stun.Message{Raw: b}
			if err := m.Decode(); err != nil || len(attr(m, icmp)) != 8 {
				t.Fatalf("%v, family %d: want an ICMP attribute in %v (%v)", tr, family, m, err)
			}
			typ := attr(m, icmp)[2] >> 1
			if want := map[byte]byte{1: 3, 2: 1}[family]; typ != want {
				t.Errorf("%v, family %d: ICMP type %d, want %d", tr, family, typ, want)
			}
		}
	}
}
