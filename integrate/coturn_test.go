package integrate

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "write testdata/config.yaml anew")

func convert(t *testing.T, conf string) *Conversion {
	t.Helper()
	c, err := ReadCoturn(strings.NewReader(conf))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAServerOfYearsAgo(t *testing.T) {
	conf, err := os.ReadFile("testdata/turnserver.conf")
	if err != nil {
		t.Fatal(err)
	}
	c := convert(t, string(conf))
	if *update {
		if err := os.WriteFile("testdata/config.yaml", c.YAML, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(c.YAML)); diff != "" {
		t.Errorf("go test ./integrate -update writes it anew: %s", diff)
	}
	for _, secret := range []string{"somepassword", "qwerty"} {
		if strings.Contains(string(c.YAML), secret) {
			t.Errorf("%q is of no use in our file", secret)
		}
	}
	wantNote(t, c, "fewer than 32 bytes")
	wantNote(t, c, "domain is the realm, turn.example.org")
}

func wantNote(t *testing.T, c *Conversion, part string) {
	t.Helper()
	if !slices.ContainsFunc(c.Notes, func(n string) bool { return strings.Contains(n, part) }) {
		t.Errorf("no note says %q: %q", part, c.Notes)
	}
}

// coturn takes "=", blanks and tabs between a name and its value, quotes round it, and
// takes a "#" in it as it is.
func TestLinesAreReadAsCoturnReadsThem(t *testing.T) {
	got, err := readCoturn(strings.NewReader("\n  # comment\nrealm=a\n\trealm = b \nrealm\tc#d\nrealm=\"e f\"\nfingerprint\nstatic-auth-secret=x=y==\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []line{
		{3, "realm", "a"},
		{4, "realm", "b"},
		{5, "realm", "c#d"},
		{6, "realm", "e f"},
		{7, "fingerprint", ""},
		{8, "static-auth-secret", "x=y=="},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(line{})); diff != "" {
		t.Error(diff)
	}
}

// values are good ones for options that want some.
var values = map[string]string{
	"listening-ip": "192.0.2.1", "listening-port": "3478", "tls-listening-port": "5349", "aux-server": "192.0.2.1:3479",
	"external-ip": "192.0.2.1", "relay-ip": "192.0.2.1", "min-port": "50000", "max-port": "51000", "user-quota": "1", "total-quota": "2", "max-bps": "3",
	"denied-peer-ip": "192.0.2.1", "allowed-peer-ip": "192.0.2.2", "cert": "a", "pkey": "b", "realm": "c", "static-auth-secret": "d",
}

// Whatever option is given, it is in the result, in a list with a reason, or switched
// off by its own value.
func TestNoOptionIsLostInSilence(t *testing.T) {
	if len(coturnOptions) < 120 {
		t.Errorf("only %d options are known", len(coturnOptions))
	}
	for name, o := range coturnOptions {
		if n := b2i(o.take != nil) + b2i(o.needless != "") + b2i(o.dropped != ""); n != 1 {
			t.Errorf("%s: %d fates, want one", name, n)
		}
		conf := name + "=" + values[name] + "\n"
		switch name { // they have an effect together alone
		case "no-tls":
			conf += "cert=a\npkey=b\n"
		case "no-dtls":
			conf += "cert=a\npkey=b\n"
		case "cert", "pkey":
			conf += "cert=a\npkey=b\n"
		}
		c := convert(t, conf)
		if len(c.Unknown) > 0 {
			t.Errorf("%s is not known", name)
		}
		if !strings.Contains(string(c.YAML), name) {
			t.Errorf("%s is lost:\n%s", name, c.YAML)
		}
		for _, l := range slices.Concat(c.NotNeeded, c.NotSupported) {
			if l.Reason == "" {
				t.Errorf("%s: without a reason", name)
			}
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestASwitchThatIsOffDoesNothing(t *testing.T) {
	c := convert(t, "no-auth=0\nno-udp=off\nno-tcp=no\nallow-loopback-peers=false\nverbose=f\nno-tls=0\ncert=a\npkey=b\n")
	if len(c.NotSupported) > 0 || strings.Contains(string(c.YAML), "127.0.0.0/8") || strings.Contains(string(c.YAML), "debug") {
		t.Errorf("%v\n%s", c.NotSupported, c.YAML)
	}
	if !strings.Contains(string(c.YAML), "turns") {
		t.Errorf("TLS is off:\n%s", c.YAML)
	}
}

func TestWhatCannotBeUnderstoodIsAnError(t *testing.T) {
	for conf, want := range map[string]string{
		"# x\nlistening-port=many":         `line 2, listening-port: "many" is not a port`,
		"listening-ip=eth0":                `"eth0" is not an address`,
		"external-ip=turn.example.org":     `is not an address`,
		"denied-peer-ip=10.0.0.9-10.0.0.1": "is not a range",
		"denied-peer-ip=10.0.0.1-::1":      "is not a range",
		"user-quota=-1":                    "is not a number",
		"static-auth-secret=":              "is empty",
		"aux-server=192.0.2.1":             "is not address:port",
		strings.Repeat("x", 1<<17):         "not a turnserver.conf",
	} {
		if _, err := ReadCoturn(strings.NewReader(conf)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", conf, err, want)
		}
	}
}

func TestRangesBecomeExactPrefixes(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1":                "10.0.0.1",
		"10.0.0.0/8":              "10.0.0.0/8",
		"10.1.2.3/8":              "10.0.0.0/8",
		"10.0.0.0-10.255.255.255": "10.0.0.0/8",
		"172.16.0.1-172.16.0.6":   "172.16.0.1/32 172.16.0.2/31 172.16.0.4/31 172.16.0.6/32",
		"0.0.0.0-255.255.255.255": "0.0.0.0/0",
		"10.0.0.5-10.0.0.5":       "10.0.0.5/32",
		"fe80::-febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff": "fe80::/10",
		"::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff":     "::/0",
		"::1-::3": "::1/128 ::2/127",
	} {
		got, err := prefixesOf(in)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s became %v (%v), want %s", in, got, err, want)
		}
	}
}

// Addresses of relayed traffic: the public one, the one behind NAT, or several.
func TestRelayedAddresses(t *testing.T) {
	for conf, want := range map[string]string{
		"external-ip=203.0.113.4":                                            "external_ip:\n    - \"203.0.113.4\"",
		"external-ip=203.0.113.4/10.0.0.4":                                   "external_ip:\n    - \"203.0.113.4\"",
		"external-ip=203.0.113.4/10.0.0.4\nexternal-ip=2001:db8::4":          "external_ip:\n    - \"203.0.113.4\"\n    - \"2001:db8::4\"",
		"external-ip=203.0.113.4/10.0.0.4\nrelay-ip=10.0.0.4":                "relay_ips:\n    - \"203.0.113.4/10.0.0.4\"",
		"external-ip=203.0.113.4\nrelay-ip=10.0.0.4":                         "relay_ips:\n    - \"203.0.113.4/10.0.0.4\"",
		"external-ip=203.0.113.4/10.0.0.4\nrelay-ip=10.0.0.5":                "relay_ips:\n    - \"10.0.0.5\"",
		"relay-ip=203.0.113.4\nrelay-ip=203.0.113.5\nrelay-ip=::1":           "relay_ips:\n    - \"203.0.113.4\"\n    - \"203.0.113.5\"\n    - \"::1\"",
		"external-ip=203.0.113.4/10.0.0.4\nexternal-ip=203.0.113.5/10.0.0.5": "relay_ips:\n    - \"203.0.113.4/10.0.0.4\"\n    - \"203.0.113.5/10.0.0.5\"",
	} {
		got := regexp.MustCompile(` # .*`).ReplaceAllString(string(convert(t, conf).YAML), "")
		if !strings.HasSuffix(got, want+"\n") || strings.Count(got, "_ip") != 1 {
			t.Errorf("%q became\n%s\nwant\n%s", conf, got, want)
		}
	}
}

// Nothing that is read breaks the YAML, and every option's line is in it.
func FuzzReadCoturn(f *testing.F) {
	for _, seed := range []string{
		"realm=a\nstatic-auth-secret=\"b\\\"", "listening-ip=::1\naux-server=[::1]:1", "\x00=\r\x85# x: y", "a b\n- c\n  d: |", "realm=\xff\xfe",
		"denied-peer-ip=0.0.0.1-255.255.255.254", "external-ip=::ffff:1.2.3.4/5",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, conf string) {
		c, err := ReadCoturn(strings.NewReader(conf))
		if err != nil {
			return
		}
		var got map[string]any
		if err := yaml.Unmarshal(c.YAML, &got); err != nil {
			t.Fatalf("%v\n%q\n%s", err, conf, c.YAML)
		}
		for key := range got {
			if !slices.Contains([]string{"domain", "listen", "tls", "turn", "log"}, key) {
				t.Errorf("key %q came in with %q", key, conf)
			}
		}
	})
}
