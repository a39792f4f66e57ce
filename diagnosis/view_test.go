package diagnosis

import (
	"net/netip"
	"testing"
)

// Both views together say what neither does alone.
func TestViewOf(t *testing.T) {
	client, peer := netip.MustParseAddrPort("11.22.33.101:5000"), netip.MustParseAddrPort("10.1.2.3:9")
	challenged := Sighting{See: "challenged", Client: &client}
	allocated := Sighting{See: "allocated", Client: &client, Relays: []netip.AddrPort{client}}
	refused := func(code int, why string) Sighting { return Sighting{See: "refused", Code: code, Why: why, Late: 7} }
	udp := Attempt{TURN: true, Transport: "udp", Whole: true}
	tls := Attempt{TURN: true, Transport: "tls", Whole: true}
	for _, c := range []struct {
		what    string
		attempt Attempt
		seen    []Sighting
		want    string
		value   string // of some key
	}{
		{"it works", Attempt{OK: true, TURN: true}, []Sighting{challenged, allocated}, "allocated", client.String()},
		{"it works, unheard", Attempt{OK: true, TURN: true}, nil, "", ""},
		{"a binding", Attempt{OK: true}, []Sighting{{See: "bound"}}, "bound", ""},
		{"silence, and nothing came", udp, nil, "nothing", ""},
		{"silence, and not everything was heard", Attempt{TURN: true, Transport: "udp"}, nil, "", ""},
		{"401, and nothing came", Attempt{TURN: true, Code: 401, Whole: true}, nil, "elsewhere", ""},
		{"silence, and it was challenged", udp, []Sighting{challenged}, "answer-lost", client.String()},
		{"silence, and it was allocated", udp, []Sighting{challenged, allocated}, "answer-lost", client.String()},
		{"wrong password", udp, []Sighting{challenged, refused(401, "bad_password")}, "bad_password", ""},
		{"expired", udp, []Sighting{challenged, refused(438, "stale_nonce"), refused(401, "expired")}, "expired", "7"},
		{"a quota", udp, []Sighting{challenged, refused(486, "user")}, "quota-user", ""},
		{"no port", udp, []Sighting{challenged, refused(508, "ports")}, "ports", ""},
		{"draining", udp, []Sighting{challenged, refused(300, "draining")}, "draining", ""},
		{"a peer", udp, []Sighting{allocated, {See: "refused", Code: 403, Why: "deny 10.0.0.0/8", Peer: &peer}}, "peer-refused", "deny 10.0.0.0/8"},
		{"another code", udp, []Sighting{refused(440, "")}, "refused", "440"},
		{"sent, and nothing came back", udp, []Sighting{allocated, {See: "relayed", Sent: 9}, {See: "closed", Sent: 90}}, "one-way", "90"},
		{"limited", udp, []Sighting{{See: "silenced", Why: "rate_limited"}}, "limited", "rate_limited"},
		{"the client's alert", tls, []Sighting{{See: "connected"}, {See: "tls-failed", Why: "alert: tls: unknown certificate authority"}}, "tls-alert", "unknown certificate authority"},
		{"it hung up", tls, []Sighting{{See: "connected"}, {See: "tls-failed", Why: "EOF"}}, "tls-failed", "EOF"},
		{"no handshake", tls, []Sighting{{See: "connected"}}, "tls-late", ""},
		{"no request", tls, []Sighting{{See: "connected"}, {See: "secured"}}, "stuck", ""},
		{"no request over TCP", Attempt{TURN: true, Transport: "tcp", Whole: true}, []Sighting{{See: "connected"}}, "stuck", ""},
	} {
		v := ViewOf(c.attempt, c.seen)
		if v.Code != c.want {
			t.Errorf("%s: %q, want %q", c.what, v.Code, c.want)
		}
		found := c.value == ""
		for _, value := range v.Values {
			found = found || value == c.value
		}
		if !found {
			t.Errorf("%s: %v, want %q among it", c.what, v.Values, c.value)
		}
	}
}
