package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRelayIPs(t *testing.T) {
	l := mustLoad(t, "turn: {relay_ips: [203.0.113.5, 203.0.113.6/10.0.0.6, '2001:db8::5']}", nil)
	var got []string
	for _, r := range l.Turn.RelayIPs {
		public, local := r.Addrs()
		got = append(got, public.String()+" at "+local.String())
	}
	want := []string{"203.0.113.5 at 203.0.113.5", "203.0.113.6 at 10.0.0.6", "2001:db8::5 at 2001:db8::5"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for text, reason := range map[string]string{
		"203.0.113.0/24":            "is not an IP address, or two as PUBLIC/LOCAL",
		"203.0.113.5/::1":           "an address of each family",
		"0.0.0.0":                   "cannot be reached by anybody",
		"eth0":                      "is not an IP address",
		"203.0.113.5, 203.0.113.5":  "203.0.113.5 is there twice",
		"203.0.113.5/fe80::1%eth0":  "an address of each family",
		"2001:db8::1/fe80::1%25eth": "cannot be reached by anybody",
	} {
		wantFault(t, "turn: {relay_ips: ["+text+"]}", reason)
	}
}

func wantFault(t *testing.T, text, reason string) {
	t.Helper()
	if _, err := load(t, text, nil); err == nil || !strings.Contains(err.Error(), reason) {
		t.Errorf("%s: %v, want %s", text, err, reason)
	}
}

func TestICEURLs(t *testing.T) {
	good := []string{
		"stun:turn.example.com", "stun:turn.example.com:3478", "turn:192.0.2.1?transport=udp", "TURNS:turn.example.com:443?transport=tcp",
		"turn:[2001:db8::1]:3478", "turn:[2001:db8::1]?transport=tcp",
	}
	l := mustLoad(t, "turn: {urls: ['"+strings.Join(good, "', '")+"']}", nil)
	if n := len(l.Turn.URLs); n != len(good) || l.Turn.URLs[3] != "turns:turn.example.com:443?transport=tcp" || !l.Turn.URLs[0].STUN() || l.Turn.URLs[3].STUN() {
		t.Errorf("%q", l.Turn.URLs)
	}
	for url, reason := range map[string]string{
		"stun://turn.example.com:3478":        `did you mean "stun:turn.example.com:3478"?`,
		"turns://turn.example.com:443/":       `did you mean "turns:turn.example.com:443"?`,
		"https://turn.example.com":            "is not a URL of a STUN or TURN server",
		"turn.example.com:3478":               "is not a URL of a STUN or TURN server",
		"turn:":                               "neither a host name nor an IP address",
		"turn:turn.example.com:0":             "has no port from 1 to 65535",
		"turn:turn.example.com:99999":         "has no port from 1 to 65535",
		"turn:2001:db8::1":                    "is not a server with its port",
		"turn:turn.example.com?transport=ws":  "only ?transport=udp or ?transport=tcp may follow",
		"stun:turn.example.com?transport=tcp": "only ?transport=udp or ?transport=tcp may follow",
		"turn:bob@turn.example.com":           "holds a user",
		"turn:turn.example.com/x":             "neither a host name nor an IP address",
	} {
		wantFault(t, "turn: {urls: '"+url+"'}", reason)
	}
}

// Bounds of users are a mapping in the file and a list in the environment.
func TestUserLimits(t *testing.T) {
	want := UserLimits{
		{"frigate", UserBounds{Allocations: 200, AllocationsPerIP: 0, Bandwidth: 50_000_000}},
		{"home assistant", UserBounds{Allocations: AsOthers, AllocationsPerIP: AsOthers, Bandwidth: 1_000_000}},
		{"nobody", UserBounds{AsOthers, AsOthers, AsOthers}},
	}
	file := mustLoad(t, `
turn:
  limits:
    users:
      frigate: {allocations: 200, allocations_per_ip: 0, bandwidth: 50Mbit}
      home assistant:
        bandwidth: 1Mbit
      nobody: {}
`, nil)
	if diff := cmp.Diff(want, file.Turn.Limits.Users); diff != "" {
		t.Error(diff)
	}
	f := file.row(t, "turn.limits.users")
	environ := mustLoad(t, "", []string{"RTCD_TURN_LIMITS_USERS=" + f.Value})
	if diff := cmp.Diff(want, environ.Turn.Limits.Users); diff != "" {
		t.Errorf("%s: %s", f.Value, diff)
	}
	if changes := Diff(file, environ); len(changes) != 0 {
		t.Errorf("%v", changes)
	}
	if changes := Diff(mustLoad(t, "", nil), file); len(changes) != 1 || !changes[0].Live {
		t.Errorf("%v, want one live change", changes)
	}
	for text, reason := range map[string]string{
		"{frigate: {allocation: 3}}":               "turn.limits.users.frigate.allocation: unknown key; did you mean \"allocations\"?",
		"{frigate: {allocations: many}}":           "turn.limits.users.frigate.allocations: \"many\" is not a number",
		"{frigate: 3}":                             "turn.limits.users.frigate: want keys and values, got a number",
		"{'': {allocations: 3}}":                   "is no name of a user",
		"{a: {}, a: {}}":                           "\"a\" is there twice",
		"frigate":                                  "is not NAME=BOUNDS",
		"'a=allocation:3'":                         "\"allocation\" is not one of allocations",
		"['a=allocations:3', 'a=bandwidth:1kbit']": "\"a\" is there twice",
		"{frigate: {allocations: [1]}}":            "want one value, got a list",
		"{frigate: {bandwidth: }}":                 "no value",
	} {
		wantFault(t, "turn: {limits: {users: "+text+"}}", reason)
	}
}

func (l *Loaded) row(t *testing.T, path string) Row {
	t.Helper()
	for _, r := range l.Rows() {
		if r.Path == path {
			return r
		}
	}
	t.Fatalf("no row %s", path)
	return Row{}
}

func TestDiscovery(t *testing.T) {
	if d := mustLoad(t, "", nil).Turn.Discovery; d.Enabled || !d.Metadata || len(d.STUN) < 2 {
		t.Errorf("by default: %+v; nobody outside is to be asked", d)
	}
	mustLoad(t, "turn: {discovery: {enabled: true, stun: '', metadata: true}}", nil)
	mustLoad(t, "turn: {discovery: {stun: ['192.0.2.1:3478', '[2001:db8::1]:3478']}}", nil)
	for text, reason := range map[string]string{
		"stun: stun.example.com:3478":                   "one server alone may be wrong",
		"stun: ['stun:stun.example.com:3478', 'a:1']":   `did you mean "stun.example.com:3478"?`,
		"stun: ['stun://stun.example.com:3478', 'a:1']": `did you mean "stun.example.com:3478"?`,
		"stun: [stun.example.com, a.example]":           "is not a server with its port",
		"every: 1s":                                     "asks others too often",
		"enabled: true, metadata: false, stun: ''":      "there is nobody to ask",
	} {
		wantFault(t, "turn: {discovery: {"+text+"}}", reason)
	}
}

// A router forwards few ports: where nobody chose them, the relay's are few enough.
func TestPortMappingLimitsTheRelayPorts(t *testing.T) {
	l := mustLoad(t, "turn: {port_mapping: auto}", nil)
	if r := l.row(t, "turn.relay_ports"); r.Value != "49152-49201" || r.From != "turn.port_mapping" {
		t.Errorf("%+v", r)
	}
	if r := mustLoad(t, "turn: {port_mapping: auto, relay_ports: 50000-50009}", nil).row(t, "turn.relay_ports"); r.Value != "50000-50009" {
		t.Errorf("%+v", r)
	}
	wantFault(t, "turn: {port_mapping: auto, relay_ports: 50000-50050}", "write 50000-50049, or turn.port_mapping: off")
}
