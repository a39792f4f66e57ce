package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "write the golden files")

func load(t *testing.T, text string, environ []string, flags ...Setting) (*Loaded, error) {
	t.Helper()
	return Load(Input{File: "config.yaml", Data: []byte(text), Environ: environ, Flags: flags})
}

func mustLoad(t *testing.T, text string, environ []string, flags ...Setting) *Loaded {
	t.Helper()
	l, err := load(t, text, environ, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestEmptyFileIsTheDefaults(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "turn:\n  # realm: x\nlog: {}\n"} {
		if diff := cmp.Diff(Default(), mustLoad(t, text, nil).Config); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestExampleFileIsTheTemplate(t *testing.T) {
	const name = "../config.example.yaml"
	want := Example(ExampleSample)
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("go test ./config -update writes it anew: %s", diff)
	}
}

// With its sample domain, addresses and files taken out the example is the defaults.
func TestExampleIsTheDefaults(t *testing.T) {
	l := &loader{Loaded: Loaded{Config: Default(), File: "x", From: map[string]Provenance{}}, data: Example(ExampleSample), secretLines: map[int]bool{}}
	l.fields = Fields(&l.Config)
	l.applyFile()
	if len(l.faults) > 0 {
		t.Fatal(asError(l.faults))
	}
	for _, f := range l.fields {
		if _, ok := l.From[f.Path]; !ok {
			t.Errorf("%s is missing", f.Path)
		}
	}
	l.Domain, l.TLS.CertFile, l.TLS.KeyFile = "", "", ""
	l.Listen.HTTPS, l.Listen.HTTP, l.Listen.Turns = nil, Default().Listen.HTTP, nil
	l.Turn.SecretFile, l.Signaling.TokenSecretFile = "", ""
	for i := range l.fields {
		if f := l.fields[i]; f.Text() == "" {
			f.value.SetZero() // an empty list is as good as none
		}
	}
	if diff := cmp.Diff(Default(), l.Config); diff != "" {
		t.Error(diff)
	}
	for line := range strings.Lines(string(Example(ExampleSample))) {
		if strings.Contains(line, ":") && !strings.HasPrefix(line, "#") && strings.Count(line, " # ") != 1 &&
			!strings.HasSuffix(line, ":\n") {
			t.Errorf("want one comment on %q", line)
		}
	}
}

func TestSchemaValidatesTheExample(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(SchemaID, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	validate := func(text string) error {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		asJSON, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(value)
	}
	good := []string{string(Example(ExampleSample)), "{}", valid}
	for _, text := range good {
		if err := validate(text); err != nil {
			t.Errorf("%v", err)
		}
	}
	for _, text := range []string{
		"domian: x", "turn: {relam: x}", "log: {level: loud}", "turn: {relay_ports: 5}",
		"drain: {timeout: soon}", "turn: {limits: {channels: -1}}", "turn: {strict_expiry: 3}",
		"listen: {turn: 3478}", "turn: {urls: 'stun://a'}", "turn: {limits: {users: {a: {allocations: x}}}}",
		"drain: {alternate: turn.example.com}", "turn: {limits: {users: {a: {channels: 3}}}}", "turn: {relay_ips: eth0}", "turn: {discovery: {stun: [a, b]}}", "signaling: {limits: {messages: 10}}",
	} {
		if validate(text) == nil {
			t.Errorf("the schema admits %q", text)
		}
		if _, err := load(t, text, nil); err == nil {
			t.Errorf("the loader admits %q", text)
		}
	}
}

// valid uses every type, and the forms that the example does not.
const valid = `
domain: 203.0.113.5
listen: {turn: [":3478", "[::1]:53478"], http: "", admin: "unix:/run/rtcd/admin.sock"}
turn:
  secrets: ["0123456789abcdef0123456789abcdef", &two "fedcba9876543210fedcba9876543210"]
  api_keys: *two
  external_ip: [203.0.113.5, "2001:db8::5"]
  relay_ports: 50000-50100
  port_rest: 0
  discovery: {enabled: true, metadata: false, stun: ["192.0.2.1:3478", "[2001:db8::1]:3478"], every: 1m}
  relay_ips: [203.0.113.6/10.0.0.6, "2001:db8::6"]
  urls: ["stun:turn.example.com", "turns:[2001:db8::6]:443?transport=tcp"]
  credential_ttl: 1d
  peers: {allow: 10.1.2.3, deny: [recommended, 198.51.100.0/24]}
  limits: {bandwidth_per_allocation: 500kbit, unauthenticated_per_ip: 0, failed_logins_per_ip: 600/m, channels: 0, new_peers_per_allocation: 30/m, users: {frigate: {allocations: 200, bandwidth: 1Mbit}}}
signaling: {auth: none, public: true, origins: "*", strip_host_candidates: true, limits: {message_bytes: 65536, messages: 10/10s}}
drain: {timeout: 1h30m, alternate: ["198.51.100.9:3478", "[2001:db8::9]:3478"]}
`

func TestValues(t *testing.T) {
	l := mustLoad(t, valid, nil)
	want := Default()
	want.Domain = "203.0.113.5"
	want.Listen = Listen{Turn: List[Address]{":3478", "[::1]:53478"}, HTTP: List[Address]{}, Admin: List[Address]{"unix:/run/rtcd/admin.sock"}}
	want.Turn.Secrets = List[string]{"0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"}
	want.Turn.APIKeys = List[string]{"fedcba9876543210fedcba9876543210"}
	want.Turn.ExternalIP = List[ExternalIP]{"203.0.113.5", "2001:db8::5"}
	want.Turn.RelayPorts = PortRange{50000, 50100}
	want.Turn.PortRest = 0
	want.Turn.Discovery = Discovery{Enabled: true, STUN: List[Host]{"192.0.2.1:3478", "[2001:db8::1]:3478"}, Every: Duration(time.Minute)}
	want.Turn.RelayIPs = List[RelayIP]{"203.0.113.6/10.0.0.6", "2001:db8::6"}
	want.Turn.URLs = List[ICEURL]{"stun:turn.example.com", "turns:[2001:db8::6]:443?transport=tcp"}
	want.Turn.Limits.Users = UserLimits{{"frigate", UserBounds{200, AsOthers, 1_000_000}}}
	want.Turn.CredentialTTL = Duration(24 * time.Hour)
	want.Turn.Peers = Peers{Allow: List[PeerRule]{"10.1.2.3/32"}, Deny: List[PeerRule]{"recommended", "198.51.100.0/24"}}
	want.Turn.Limits.BandwidthPerAllocation = 500_000
	want.Turn.Limits.UnauthenticatedPerIP = Rate{}
	want.Turn.Limits.NewPeersPerAllocation = Rate{30, time.Minute}
	want.Turn.Limits.FailedLoginsPerIP = Rate{600, time.Minute}
	want.Turn.Limits.Channels = 0
	want.Signaling.Auth, want.Signaling.Public = AuthNone, true
	want.Signaling.StripHostCandidates = true
	want.Signaling.Origins = List[Origin]{"*"}
	want.Signaling.Limits.MessageBytes = 65536
	want.Signaling.Limits.Messages = Rate{10, 10 * time.Second}
	want.Drain.Timeout = Duration(90 * time.Minute)
	want.Drain.Alternate = List[Endpoint]{"198.51.100.9:3478", "[2001:db8::9]:3478"}
	if diff := cmp.Diff(want, l.Config); diff != "" {
		t.Error(diff)
	}
}

// Every value is read back from what it prints.
func TestTextRoundTrip(t *testing.T) {
	l := mustLoad(t, valid, nil)
	for _, f := range Fields(&l.Config) {
		before := f.Text()
		if err := setText(f.value, before); err != nil {
			t.Errorf("%s: %v", f.Path, err)
		} else if f.Text() != before {
			t.Errorf("%s: %q became %q", f.Path, before, f.Text())
		}
	}
}

func TestPrecedenceAndProvenance(t *testing.T) {
	l := mustLoad(t, "turn:\n  realm: file\n  port_rest: 1s\n  secrets: [\"0123456789abcdef0123456789abcdef\"]\nlog: {level: warn}\n",
		[]string{"RTCD_TURN_REALM=env", "RTCD_LOG_LEVEL=debug", "RTCD_LISTEN_TURN=:1,:2", "PATH=/bin"},
		Setting{"turn.realm", "flag"})
	rows := map[string]string{}
	for _, r := range l.Rows() {
		rows[r.Path] = r.Value + " from " + r.From
	}
	for path, want := range map[string]string{
		"turn.realm":     "flag from --set turn.realm",
		"turn.port_rest": "1s from config.yaml:3",
		"turn.secrets":   "******** from config.yaml:4",
		"turn.api_keys":  " from default",
		"log.level":      "debug from RTCD_LOG_LEVEL",
		"listen.turn":    ":1,:2 from RTCD_LISTEN_TURN",
		"log.format":     "auto from default",
	} {
		if rows[path] != want {
			t.Errorf("%s: %q, want %q", path, rows[path], want)
		}
	}
}

// The golden file shows every kind of fault as people see it.
func TestFaultsGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, name := range inputs {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Load(Input{
			File: filepath.Base(name), Data: data, Environ: []string{"RTCD_DRAIN_MIN=some"},
			Flags: []Setting{{"turn.relm", "x"}},
		})
		golden := strings.TrimSuffix(name, ".yaml") + ".golden"
		got := fmt.Sprintln(err)
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	const a, b = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
	write("good", a+"\n\n "+b+" \n", 0o600)
	write("open", b+"\n", 0o644)
	write("empty", " \n\n", 0o600)
	write("short", "swordfish\n", 0o600)
	loadIn := func(text string) (*Loaded, error) {
		return Load(Input{File: filepath.Join(dir, "config.yaml"), Data: []byte(text)})
	}
	if _, err := loadIn("turn: {secret_file: good}\nsignaling: {token_secret_file: open}"); err == nil {
		t.Error("a token secret that is a TURN secret too was admitted")
	}
	l, err := loadIn("turn: {secret_file: good}")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(List[string]{a, b}, l.Turn.Secrets); diff != "" || len(l.Warnings) != 0 {
		t.Error(diff, l.Warnings)
	}
	if l, err = loadIn("turn: {secret_file: open}"); err != nil || len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "chmod 600") {
		t.Errorf("%+v %v", l, err)
	}
	for _, text := range []string{
		"turn: {secret_file: empty}", "turn: {secret_file: missing}", "turn: {secret_file: short}",
		"turn: {secret_file: good, secrets: [" + b + "]}",
	} {
		_, err := loadIn(text)
		if err == nil {
			t.Errorf("admitted: %s", text)
			continue
		}
		for _, secret := range []string{a, "swordfish"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells a secret: %v", err)
			}
		}
	}
	// The environment names files of its own: not relative to the configuration.
	t.Chdir(t.TempDir())
	if err := os.WriteFile("elsewhere", []byte(b+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err = Load(Input{
		File: filepath.Join(dir, "config.yaml"), Data: []byte("turn: {secret_file: good}"),
		Environ: []string{"RTCD_TURN_SECRET_FILE=elsewhere"},
	})
	if err != nil || l.Turn.Secrets[0] != b {
		t.Errorf("%+v %v", l, err)
	}
	if l, err = loadIn("turn: {secret_file: short, allow_short_secret: true}"); err != nil || l.Turn.Secrets[0] != "swordfish" {
		t.Errorf("%+v %v", l, err)
	}
}

func TestSecretsStayOutOfFaults(t *testing.T) {
	for _, text := range []string{
		"turn:\n  secrets: [topsecret, {a: topsecret}, 12345]\n  api_keys: [topsecret, topsecret]\n",
		"turn:\n  secret: topsecret\n",
		"turn:\n  Secrets:\n    - topsecret\n",
		"turn: {secrets: [topsecret], relm: x}",
		"turn:\n  api_keys:\n    - topsecret\n    - \"topsecret\n",
		"signaling: {token_secrets: topsecret, auth: no}",
	} {
		_, err := load(t, text, []string{"RTCD_SIGNALING_TOKEN_SECRETS=topsecret"})
		if err == nil || strings.Contains(err.Error(), "topsecret") || strings.Contains(err.Error(), "12345") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestTLSMode(t *testing.T) {
	for text, want := range map[string]TLSMode{
		"":                         TLSOff,
		"domain: rtc.example.com":  TLSOff, // nothing listens with TLS
		"listen: {https: ':443'}":  TLSSelfSigned,
		"listen: {turns: ':5349'}": TLSSelfSigned,
		"domain: 192.0.2.1\nlisten: {https: ':443'}":                                                                            TLSSelfSigned,
		"domain: box.lan\nlisten: {https: ':443'}":                                                                              TLSSelfSigned,
		"domain: rtc.example.com\nlisten: {https: ':443'}":                                                                      TLSACME,
		"domain: a.example.com\nlisten: {https: ':443'}\ntls: {mode: self-signed}":                                              TLSSelfSigned,
		"domain: 11.22.33.44\nlisten: {https: ':443'}":                                                                          TLSSelfSigned, // unless asked for
		"domain: 11.22.33.44\nlisten: {https: ':443'}\ntls: {mode: acme}":                                                       TLSACME,
		"domain: box.lan\nlisten: {https: ':443'}\ntls: {mode: acme, acme: {directory: 'https://ca.lan/dir', ca_file: ca.pem}}": TLSACME,
		"listen: {https: ':443'}\ntls: {cert_file: a.pem, key_file: b.pem}":                                                     TLSFiles,
		"listen: {https: ':443'}\ntls: {mode: files, cert_file: a.pem, key_file: b.pem}":                                        TLSFiles,
	} {
		if got := mustLoad(t, text, nil).TLSMode(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// What a certificate authority could not do anything with is refused.
func TestACME(t *testing.T) {
	for text, want := range map[string]string{
		"tls: {mode: acme}":                                                                             "", // nothing listens with TLS
		"listen: {https: ':443'}\ntls: {mode: acme}":                                                    "needs a host name or an IP address in domain",
		"domain: box.lan\nlisten: {https: ':443'}\ntls: {mode: acme}":                                   "needs a public host name or IP address in domain, not \"box.lan\"",
		"domain: 192.168.1.5\nlisten: {https: ':443'}\ntls: {mode: acme}":                               "not \"192.168.1.5\"",
		"domain: 100.64.1.5\nlisten: {https: ':443'}\ntls: {mode: acme}":                                "not \"100.64.1.5\"",
		"domain: a.example.com\nlisten: {http: '', turns: ':5349'}":                                     "needs listen.https or listen.http",
		"domain: a.example.com\nlisten: {https: ':443'}\ntls: {acme: {directory: 'http://ca.lan/dir'}}": "is not the URL of a directory",
		"domain: a.example.com\nlisten: {https: ':443'}\ntls: {acme: {ca_file: ca.pem}}":                "tls.acme.directory is missing",
		"domain: a.example.com\nlisten: {https: ':443'}\nturn: {relay_ports: 400-500}":                  "port 443 lies within turn.relay_ports",
		"domain: a.example.com\nlisten: {https: ':443', turn: ':443'}":                                  "\":443\" is taken by listen.https",
	} {
		_, err := load(t, text, nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// Credentials live long enough to set up a call, and not for ever.
func TestCredentialTTL(t *testing.T) {
	for ttl, want := range map[string]string{
		"59s": "shorter than a minute", "1m": "", "24h": "", "24h1s": "longer than a day", "0": "shorter than a minute",
	} {
		_, err := load(t, "turn: {credential_ttl: "+ttl+"}", nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", ttl, err, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(string(Example(ExampleSample)))
	f.Add(valid)
	inputs, _ := filepath.Glob("testdata/*.yaml")
	for _, name := range inputs {
		if data, err := os.ReadFile(name); err == nil {
			f.Add(string(data))
		}
	}
	f.Add("a: &a [*a]\nturn: *a")
	f.Add("<<: {domain: x}\n? [a]\n: b")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "_file") {
			return // must not read what the fuzzer names
		}
		l, err := Load(Input{File: "config.yaml", Data: []byte(text)})
		if err != nil {
			if msg := err.Error(); !strings.Contains(msg, "in the configuration") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		for _, field := range Fields(&l.Config) {
			if err := setText(field.value, field.Text()); err != nil && !strings.Contains(field.Text(), ",") {
				t.Errorf("%s: %v", field.Path, err)
			}
		}
	})
}

// An empty list of secrets in a file is no secret.
func TestEmptySecretsNeedNoClosedFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "config.yaml")
	for text, warns := range map[string]bool{"turn: {api_keys: []}": false, "turn: {api_keys: [" + strings.Repeat("k", 40) + "]}": true} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Input{File: name})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(c.Warnings) > 0; got != warns {
			t.Errorf("%s: warnings %q", text, c.Warnings)
		}
	}
}
