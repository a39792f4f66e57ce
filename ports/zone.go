package ports

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Zone is what DNS should say of a server.
type Zone struct {
	Name  string       // its host name
	Addrs []netip.Addr // that the name should lead to
	// Ports of TURN over UDP and TCP, and over TLS; 0 = none.
	Turn, Turns uint16
}

// Write writes the records as lines of a zone file. Browsers look at the addresses
// only; the rest is for clients that know RFC 8489 section 8 and RFC 5928, such as
// those of SIP and XMPP.
func (z Zone) Write(w io.Writer) error {
	var b strings.Builder
	name := strings.TrimSuffix(z.Name, ".") + "."
	b.WriteString("; Where browsers go:\n")
	for _, a := range z.Addrs {
		kind := "A"
		if a.Is6() {
			kind = "AAAA"
		}
		fmt.Fprintf(&b, "%s 300 IN %s %s\n", name, kind, a)
	}
	b.WriteString("; Not used by browsers; for clients that look services up:\n")
	srv := func(service string, port uint16) {
		if port != 0 {
			fmt.Fprintf(&b, "_%s.%s 300 IN SRV 0 0 %d %s\n", service, name, port, name)
		}
	}
	srv("stun._udp", z.Turn)
	srv("stun._tcp", z.Turn)
	srv("turn._udp", z.Turn)
	srv("turn._tcp", z.Turn)
	srv("turns._tcp", z.Turns)
	// S-NAPTR (RFC 5928 section 3): the order says what to try first.
	naptr := func(order int, transport, service string, port uint16) {
		if port != 0 {
			fmt.Fprintf(&b, "%s 300 IN NAPTR %d 10 \"S\" \"RELAY:%s\" \"\" _%s.%s\n", name, order, transport, service, name)
		}
	}
	naptr(100, "turn.udp", "turn._udp", z.Turn)
	naptr(200, "turn.tcp", "turn._tcp", z.Turn)
	naptr(300, "turn.tls", "turns._tcp", z.Turns)
	_, err := io.WriteString(w, b.String())
	return err
}
