package integrate

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func sample() Server {
	return Server{
		STUN:  []string{"stun:rtc.example.com:3478"},
		TURN:  []string{"turn:rtc.example.com:3478?transport=udp", "turn:rtc.example.com:3478?transport=tcp", "turns:rtc.example.com:5349?transport=tcp"},
		Realm: "rtc.example.com", Secret: "0123456789abcdef0123456789abcdef", TTL: 24 * time.Hour,
		Site: &url.URL{Scheme: "https", Host: "rtc.example.com"}, APIKey: "key-key-key-key-key-key-key-key-",
		Username: "1900000000:go2rtc", Password: "UEFTU1dPUkQ=", Expires: time.Unix(1900000000, 0),
	}
}

func TestEveryAppGetsAFinishedSnippet(t *testing.T) {
	blank := regexp.MustCompile(`<no value>|%!|\{\{|""|: *$`)
	for _, a := range Apps() {
		text, err := a.Snippet(sample())
		if err != nil {
			t.Errorf("%s: %v", a.Name, err)
			continue
		}
		if a.Where == "" || a.Title == "" || strings.Contains(a.Where+a.Notes, "\n") {
			t.Errorf("%s: where it goes is one line", a.Name)
		}
		if a.Name != "janus" && strings.Contains(text, sample().Secret) == a.Pair {
			t.Errorf("%s: the secret where a pair is wanted, or the other way round:\n%s", a.Name, text)
		}
		if strings.Contains(text, sample().Password) != a.Pair {
			t.Errorf("%s: the pair where the secret is wanted, or the other way round:\n%s", a.Name, text)
		}
		if text == "" || text[len(text)-1] != '\n' || text[0] == '\n' || strings.Contains(text, "\n\n") {
			t.Errorf("%s: lines are missing or empty:\n%s", a.Name, text)
		}
		for line := range strings.Lines(text) {
			if m := blank.FindString(line); m == "<no value>" || m == "%!" || m == "{{" || m == `""` {
				t.Errorf("%s: unfinished: %s", a.Name, line)
			}
		}
	}
}

// A server may offer some of the transports only; what is not offered is not named.
func TestSnippetsNameOnlyWhatIsOffered(t *testing.T) {
	for _, turn := range []string{"turn:192.0.2.1:3478?transport=udp", "turn:[2001:db8::1]:3478?transport=tcp", "turns:rtc.example.com:443?transport=tcp"} {
		s := sample()
		s.STUN, s.TURN = nil, []string{turn}
		for _, a := range Apps() {
			text, err := a.Snippet(s)
			if err != nil {
				t.Errorf("%s with %s: %v", a.Name, turn, err)
			}
			if strings.Contains(text, "null") || strings.Contains(text, "5349") || strings.Contains(text, "stun:") {
				t.Errorf("%s with %s:\n%s", a.Name, turn, text)
			}
		}
	}
}

func TestAServerWithoutTURNHelpsNobody(t *testing.T) {
	for _, a := range Apps() {
		if _, err := a.Snippet(Server{Secret: "x"}); err == nil || !strings.Contains(err.Error(), "listen.turn") {
			t.Errorf("%s: %v", a.Name, err)
		}
	}
}

// Files without quoting refuse what they would change.
func TestASecretThatAFileCannotHoldIsRefused(t *testing.T) {
	s := sample()
	s.Secret = "two lines\nof 32 bytes 0123456789abcdef"
	for _, name := range []string{"coturn", "spreed-signaling", "prosody", "jitsi", "screego", "mattermost"} {
		a, known := Find(name)
		if !known {
			t.Fatalf("%s is not known", name)
		}
		if _, err := a.Snippet(s); err == nil || !strings.Contains(err.Error(), "openssl rand") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEndpoints(t *testing.T) {
	s := sample()
	s.TURN = append([]string{"turn:[2001:db8::1]:3479?transport=udp"}, s.TURN...)
	if got := s.UDP(); got.Host != "2001:db8::1" || got.Port != 3479 || got.Addr() != "[2001:db8::1]:3479" {
		t.Errorf("UDP is %+v", got)
	}
	if got := s.TLS(); got.Addr() != "rtc.example.com:5349" {
		t.Errorf("TLS is %+v", got)
	}
	if s.REST() != "https://rtc.example.com/turn" || s.SitePort() != 443 {
		t.Errorf("%s on port %d", s.REST(), s.SitePort())
	}
	if !slices.IsSorted(Names()) {
		t.Errorf("%v are not sorted", Names())
	}
}

// Janus asks for fresh credentials if it has a key, else it has a pair.
func TestJanusAsksOrHasAPair(t *testing.T) {
	janus, _ := Find("janus")
	s := sample()
	text, err := janus.Snippet(s)
	if err != nil || !strings.Contains(text, s.APIKey) || strings.Contains(text, s.Password) {
		t.Errorf("%v\n%s", err, text)
	}
	s.Site = nil
	if _, err := janus.Snippet(s); err == nil || !strings.Contains(err.Error(), "listen.https") {
		t.Errorf("a key but nobody to ask: %v", err)
	}
	s.APIKey = ""
	if text, err = janus.Snippet(s); err != nil || !strings.Contains(text, s.Password) || strings.Contains(text, "turn_rest_api") {
		t.Errorf("%v\n%s", err, text)
	}
}
