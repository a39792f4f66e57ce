package targets

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// What the server offers.
var (
	stunURLs = []string{"stun:rtc.example.com:3478"}
	turnURLs = []string{
		"turns:rtc.example.com:443?transport=tcp",
		"turn:rtc.example.com:3478?transport=udp", "turn:rtc.example.com:3478?transport=tcp",
	}
	// Browsers are told of UDP on the web's port too.
	browserURLs = []string{
		"turns:rtc.example.com:443?transport=tcp",
		"turn:rtc.example.com:3478?transport=udp", "turn:rtc.example.com:3478?transport=tcp",
		"turn:rtc.example.com:443?transport=udp",
	}
)

// readers hand each app's snippet to a parser of the app's syntax, and look at what
// that understood.
var readers = map[string]func(*testing.T, string){
	"bbb": wantBeans, "coturn": wantCoturn, "ejabberd": wantEjabberd, "galene": wantGalene, "go2rtc": wantGo2rtc,
	"home-assistant": wantHomeAssistant, "janus": wantJanus, "jitsi": wantJitsi, "livekit": wantLiveKit,
	"mattermost": wantMattermost, "mediamtx": wantMediaMTX, "nextcloud": wantOcc, "pairdrop": wantPairDrop,
	"peerjs": wantPeerJS, "prosody": wantProsody, "screego": wantScreego, "spreed-signaling": wantSpreed, "synapse": wantSynapse,
}

func TestEverySnippetIsUnderstoodByItsParser(t *testing.T) {
	_, list, _ := strings.Cut(rtcdFails(t, "integrate", "no-such-app"), "want one of ")
	list, _, _ = strings.Cut(list, "\n")
	for name := range strings.SplitSeq(list, ", ") {
		if readers[name] == nil {
			t.Errorf("%s has no reader here", name)
		}
	}
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			config := server
			if slices.Contains([]string{"jitsi", "mattermost", "screego"}, name) { // no quote can be in their files
				config = strings.Replace(server, "it''s", "it is", 1)
			}
			read(t, rtcd(t, config, "integrate", name))
		})
	}
}

// The same pairs come from rtcd credentials, for whoever names the user.
func TestPairsOfCredentialsAreUnderstoodToo(t *testing.T) {
	for _, app := range []string{"go2rtc", "home-assistant", "pairdrop"} {
		readers[app](t, rtcd(t, server, "credentials", "--format", app, "--user", app))
	}
	type turn struct {
		Host, Protocol, Username, Credential string
		Port                                 int
	}
	var livekit struct {
		RTC struct {
			Servers []turn `yaml:"turn_servers"`
		}
	}
	readYAML(t, rtcd(t, server, "credentials", "--format", "livekit", "--user", "lk"), &livekit)
	if len(livekit.RTC.Servers) != 3 {
		t.Errorf("%+v", livekit)
	}
	for _, s := range livekit.RTC.Servers {
		wantPair(t, "lk", s.Username, s.Credential)
	}
	var browser struct {
		Servers []iceServer `json:"iceServers"`
	}
	readJSON(t, rtcd(t, server, "credentials", "--format", "rtc-config", "--user", "page"), &browser)
	wantServers(t, "page", browser.Servers)
}

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

// readYAML refuses keys that the program does not have, and keys written twice.
func readYAML(t *testing.T, text string, into any) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}

func readJSON(t *testing.T, text string, into any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}

// pipe runs a program with the text as its input.
func pipe(t *testing.T, text, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
	return string(out)
}

// environment is what a shell makes of a file of variables, of those with a prefix.
func environment(t *testing.T, text, prefix string) map[string]string {
	t.Helper()
	got := map[string]string{}
	for line := range strings.SplitSeq(pipe(t, "set -a\n"+text+"env -0", "sh", "-e"), "\x00") {
		if name, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, prefix) {
			got[name] = value
		}
	}
	return got
}

// plain is the secret of the files that cannot hold a quote.
var plain = strings.Replace(secret, "it's", "it is", 1)

func wantPair(t *testing.T, user, username, password string) {
	t.Helper()
	if !regexp.MustCompile(`^\d{10}:`+user+`$`).MatchString(username) || len(password) != 28 {
		t.Errorf("the pair is %q and %q", username, password)
	}
}

// Spring's beans: the service has sets of references, each to a bean with its arguments.
func wantBeans(t *testing.T, text string) {
	var beans struct {
		XMLName xml.Name `xml:"http://www.springframework.org/schema/beans beans"`
		Beans   []struct {
			ID    string `xml:"id,attr"`
			Class string `xml:"class,attr"`
			Args  []struct {
				Index int    `xml:"index,attr"`
				Value string `xml:"value,attr"`
			} `xml:"constructor-arg"`
			Properties []struct {
				Name string `xml:"name,attr"`
				Refs []struct {
					Bean string `xml:"bean,attr"`
				} `xml:"set>ref"`
			} `xml:"property"`
		} `xml:"bean"`
	}
	if err := xml.Unmarshal([]byte(text), &beans); err != nil {
		t.Fatal(err)
	}
	const pkg = "org.bigbluebutton.web.services.turn."
	args, sets := map[string][]string{}, map[string][]string{}
	for _, b := range beans.Beans {
		if !strings.HasPrefix(b.Class, pkg) {
			t.Errorf("%s is of class %s", b.ID, b.Class)
		}
		args[b.ID] = []string{strings.TrimPrefix(b.Class, pkg)}
		for i, a := range b.Args {
			if a.Index != i {
				t.Errorf("%s: argument %d has index %d", b.ID, i, a.Index)
			}
			args[b.ID] = append(args[b.ID], a.Value)
		}
		for _, p := range b.Properties {
			for _, r := range p.Refs {
				sets[p.Name] = append(sets[p.Name], strings.Join(args[r.Bean], "|"))
			}
		}
	}
	want(t, "sets", sets, map[string][]string{
		"stunServers": {"StunServer|" + stunURLs[0]},
		"turnServers": {
			"TurnServer|" + secret + "|" + turnURLs[0] + "|86400",
			"TurnServer|" + secret + "|" + turnURLs[1] + "|86400",
			"TurnServer|" + secret + "|" + turnURLs[2] + "|86400",
		},
	})
}

func wantEjabberd(t *testing.T, text string) {
	type service struct {
		Host, Type, Transport string
		Port                  int
		Restricted            bool
	}
	var got struct {
		Modules struct {
			Disco struct {
				Offer    bool   `yaml:"offer_local_services"`
				Lifetime string `yaml:"credentials_lifetime"`
				Secret   string
				Services []service
			} `yaml:"mod_stun_disco"`
		}
	}
	readYAML(t, text, &got)
	d := got.Modules.Disco
	want(t, "services", d.Services, []service{
		{"rtc.example.com", "stun", "udp", 3478, false},
		{"rtc.example.com", "turn", "udp", 3478, true},
		{"rtc.example.com", "turn", "tcp", 3478, true},
		{"rtc.example.com", "turns", "tcp", 443, true},
	})
	want(t, "secret", d.Secret, secret)
	want(t, "lifetime", d.Lifetime, "86400s")
}

func wantGalene(t *testing.T, text string) {
	var got []struct {
		URLs           []string
		Username       string
		Credential     string
		CredentialType string
	}
	readJSON(t, text, &got)
	if len(got) != 1 {
		t.Fatalf("%d servers", len(got))
	}
	want(t, "urls", got[0].URLs, turnURLs)
	want(t, "secret", got[0].Credential, secret)
	want(t, "type", got[0].CredentialType, "hmac-sha1")
}

// iceServer is one of RTCConfiguration, in the three spellings of its URLs.
type iceServer struct {
	URLs       []string `yaml:"urls,omitempty" json:"urls,omitempty"`
	URL        []string `yaml:"url,omitempty" json:"url,omitempty"`
	Username   string   `yaml:"username,omitempty" json:"username,omitempty"`
	Credential string   `yaml:"credential,omitempty" json:"credential,omitempty"`
}

func wantServers(t *testing.T, user string, got []iceServer) {
	t.Helper()
	if len(got) != 2 {
		t.Fatalf("%d servers", len(got))
	}
	want(t, "stun", slices.Concat(got[0].URLs, got[0].URL), stunURLs)
	if urls := slices.Concat(got[1].URLs, got[1].URL); !slices.Equal(urls, turnURLs) && !slices.Equal(urls, browserURLs) {
		t.Errorf("turn: %q", urls)
	}
	want(t, "stun's username", got[0].Username, "")
	wantPair(t, user, got[1].Username, got[1].Credential)
}

func wantGo2rtc(t *testing.T, text string) {
	var got struct {
		WebRTC struct {
			Servers []iceServer `yaml:"ice_servers"`
		} `yaml:"webrtc"`
	}
	readYAML(t, text, &got)
	wantServers(t, "go2rtc", got.WebRTC.Servers)
}

func wantHomeAssistant(t *testing.T, text string) {
	var got struct {
		WebRTC struct {
			Servers []iceServer `yaml:"ice_servers"`
		} `yaml:"web_rtc"`
	}
	readYAML(t, text, &got)
	wantServers(t, "home-assistant", got.WebRTC.Servers)
}

func wantPairDrop(t *testing.T, text string) {
	var got struct {
		SDPSemantics string      `json:"sdpSemantics"`
		Servers      []iceServer `json:"iceServers"`
	}
	readJSON(t, text, &got)
	want(t, "semantics", got.SDPSemantics, "unified-plan")
	wantServers(t, "pairdrop", got.Servers)
}

// A class in the place of PeerJS's shows what it was given.
func wantPeerJS(t *testing.T, text string) {
	var got struct {
		Host   string
		Port   int
		Secure bool
		Path   string
		Key    string
		Config struct {
			Servers []iceServer `json:"iceServers"`
		}
	}
	readJSON(t, pipe(t, "class Peer { constructor(id, o) { console.log(JSON.stringify(o)) } }\n"+text, "node", "-"), &got)
	want(t, "host", got.Host, "rtc.example.com")
	if got.Port != 443 || !got.Secure || got.Path != "/" {
		t.Errorf("%+v", got)
	}
	wantServers(t, "peerjs", got.Config.Servers)
}

// Janus reads libconfig, and so does python3-libconf. The other shape has a key for
// the TURN REST API.
func wantJanus(t *testing.T, text string) {
	read := func(text string) (nat map[string]any) {
		t.Helper()
		var got map[string]map[string]any
		readJSON(t, pipe(t, text, "/usr/bin/python3", "-c", "import sys, json, libconf; print(json.dumps(libconf.load(sys.stdin)))"), &got)
		return got["nat"]
	}
	nat := read(text)
	username, _ := nat["turn_user"].(string)
	password, _ := nat["turn_pwd"].(string)
	wantPair(t, "janus", username, password)
	delete(nat, "turn_user")
	delete(nat, "turn_pwd")
	want(t, "nat", nat, map[string]any{"turn_server": "rtc.example.com", "turn_port": 3478.0, "turn_type": "udp"})

	const key = `a "key" of more \ than 32 bytes, at least`
	with := rtcd(t, server+"\n  api_keys: ['"+key+"']\n", "integrate", "janus")
	want(t, "nat", read(with), map[string]any{
		"turn_rest_api": "https://rtc.example.com/turn", "turn_rest_api_key": key, "turn_rest_api_method": "GET",
	})
}

func wantJitsi(t *testing.T, text string) {
	got := environment(t, text, "")
	for name, value := range map[string]string{
		"TURN_CREDENTIALS": plain, "TURN_HOST": "rtc.example.com", "TURN_PORT": "3478", "TURN_TRANSPORT": "udp,tcp",
		"TURNS_HOST": "rtc.example.com", "TURNS_PORT": "443", "TURN_TTL": "86400", "P2P_STUN_SERVERS": "rtc.example.com:3478",
	} {
		want(t, name, got[name], value)
	}
}

func wantMattermost(t *testing.T, text string) {
	got := environment(t, text, "MM_CALLS_")
	var servers []iceServer
	readJSON(t, got["MM_CALLS_ICE_SERVERS_CONFIGS"], &servers)
	want(t, "servers", servers, []iceServer{{URLs: stunURLs}, {URLs: turnURLs}})
	want(t, "secret", got["MM_CALLS_TURN_STATIC_AUTH_SECRET"], plain)
	want(t, "minutes", got["MM_CALLS_TURN_CREDENTIALS_EXPIRATION_MINUTES"], "1440")
}

func wantScreego(t *testing.T, text string) {
	want(t, "environment", environment(t, text, "SCREEGO_"), map[string]string{
		"SCREEGO_TURN_EXTERNAL_IP": "dns:rtc.example.com", "SCREEGO_TURN_EXTERNAL_PORT": "3478", "SCREEGO_TURN_EXTERNAL_SECRET": plain,
	})
}

func wantLiveKit(t *testing.T, text string) {
	type turn struct {
		Host, Protocol, Secret string
		Port, TTL              int
	}
	var got struct {
		RTC struct {
			Servers []turn `yaml:"turn_servers"`
		}
	}
	readYAML(t, text, &got)
	want(t, "servers", got.RTC.Servers, []turn{
		{"rtc.example.com", "udp", secret, 3478, 86400},
		{"rtc.example.com", "tcp", secret, 3478, 86400},
		{"rtc.example.com", "tls", secret, 443, 86400},
	})
}

func wantMediaMTX(t *testing.T, text string) {
	type server struct {
		URL, Username, Password string
		ClientOnly              bool `yaml:"clientOnly"`
	}
	var got struct {
		Servers []server `yaml:"webrtcICEServers2"`
	}
	readYAML(t, text, &got)
	want(t, "servers", got.Servers, []server{
		{URL: stunURLs[0]},
		{turnURLs[0], "AUTH_SECRET", secret, true},
		{turnURLs[1], "AUTH_SECRET", secret, true},
		{turnURLs[2], "AUTH_SECRET", secret, true},
	})
}

// A sudo in the path shows what it was given.
func wantOcc(t *testing.T, text string) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sudo"), []byte("#!/bin/sh\nprintf '%s|' \"$@\"; echo\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	const occ = "-u|www-data|php|occ|"
	want(t, "commands", pipe(t, "PATH="+dir+":$PATH\n"+text, "sh", "-e"),
		occ+"talk:stun:add|rtc.example.com:3478|\n"+
			occ+"talk:turn:add|--secret="+secret+"|turn|rtc.example.com:3478|udp,tcp|\n"+
			occ+"talk:turn:add|--secret="+secret+"|turns|rtc.example.com:443|tcp|\n")
}

// Prosody's file is Lua, and what it sets are globals.
func wantProsody(t *testing.T, text string) {
	got := pipe(t, text+`
for _, name in ipairs {"host", "port", "secret", "ttl", "tcp", "tls_port"} do
	local v = _G["turn_external_" .. name]
	print(name, math.type(v) or type(v), v)
end`, "lua5.4", "-")
	want(t, "globals", got, "host\tstring\trtc.example.com\nport\tinteger\t3478\nsecret\tstring\t"+secret+
		"\nttl\tinteger\t86400\ntcp\tboolean\ttrue\ntls_port\tinteger\t443\n")
}

func wantSpreed(t *testing.T, text string) {
	var got map[string]string
	readJSON(t, pipe(t, text, "/usr/bin/python3", "-c", `import sys, json, configparser
c = configparser.RawConfigParser(); c.read_file(sys.stdin); print(json.dumps(dict(c["turn"])))`), &got)
	if len(got["apikey"]) < 26 {
		t.Errorf("apikey is %q", got["apikey"])
	}
	want(t, "secret", got["secret"], secret)
	want(t, "servers", strings.Split(got["servers"], ","), turnURLs)
}

func wantSynapse(t *testing.T, text string) {
	var got struct {
		URIs     []string `yaml:"turn_uris"`
		Secret   string   `yaml:"turn_shared_secret"`
		Lifetime string   `yaml:"turn_user_lifetime"`
		Guests   bool     `yaml:"turn_allow_guests"`
	}
	readYAML(t, text, &got)
	want(t, "uris", got.URIs, turnURLs)
	want(t, "secret", got.Secret, secret)
	want(t, "lifetime", got.Lifetime, "86400s")
	want(t, "guests", got.Guests, true)
}
