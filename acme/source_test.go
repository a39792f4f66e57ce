package acme

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"rtcd/internal/leak"
)

// The tests with a real authority are in test/acme.

func TestMain(m *testing.M) { leak.Main(m, "rtcd/acme") }

var (
	web    = netip.MustParseAddrPort("[::]:443")
	plain  = netip.MustParseAddrPort("192.0.2.1:80")
	nobody = netip.AddrPort{}
)

// Until there is a certificate the placeholder serves, and who is asked with the authority's
// protocol knows nothing.
func TestBeforeTheFirstCertificate(t *testing.T) {
	own := &tls.Certificate{}
	o := Options{
		Name: "rtc.example.com", Dir: t.TempDir(), TLS: web, Logger: slog.New(slog.DiscardHandler),
		Placeholder: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own, nil },
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if c, err := s.Get(&tls.ClientHelloInfo{ServerName: "other.example.com"}); err != nil || c != own || s.Current() != nil {
		t.Errorf("%v %v", c, err)
	}
	if _, err := Stored(o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stored: %v", err)
	}
	path := filepath.Join(o.Dir, "certificates", "acme-v02.api.letsencrypt.org-directory", o.Name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, o.Name+".crt"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Stored(o); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stored rubbish: %v", err)
	}
	again, err := New(o) // it is fetched anew
	if err != nil || again.Current() != nil {
		t.Errorf("%v", err)
	}
	again.Close()
}

// The authority has to come in somewhere.
func TestNoWayIn(t *testing.T) {
	if _, err := New(Options{Name: "rtc.example.com", Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "no way in") {
		t.Errorf("%v", err)
	}
}

func TestRemedyNamesThePorts(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Name: "rtc.example.com", HTTP: plain, TLS: web}, "as rtc.example.com, TCP port 80 or port 443: the name has to resolve"},
		{Options{Name: "rtc.example.com", HTTP: plain}, "TCP port 80: "},
		{Options{Name: "rtc.example.com", TLS: web, Directory: "https://ca.example.com/dir"}, "(https://ca.example.com/dir) has to reach this machine as rtc.example.com, TCP port 443: "},
		{Options{Name: "2001:db8::7", HTTP: nobody, TLS: web}, "at 2001:db8::7, TCP port 443: open it"},
	} {
		if got := c.o.Remedy(); !strings.Contains(got, c.want) {
			t.Errorf("%s: want %s", got, c.want)
		}
	}
}

func TestProfile(t *testing.T) {
	for _, c := range []struct{ name, profile, want string }{
		{"rtc.example.com", "", ""},
		{"203.0.113.5", "", "shortlived"},
		{"2001:db8::7", "", "shortlived"},
		{"203.0.113.5", "tls", "tls"},
		{"rtc.example.com", "tls", "tls"},
	} {
		if got := (Options{Name: c.name, Profile: c.profile}).profile(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// What certmagic says is there for who looks for a fault, and for nobody else.
func TestLog(t *testing.T) {
	for level, want := range map[slog.Level]string{slog.LevelInfo: "", slog.LevelDebug: `level=DEBUG msg="acme: it failed" name=a n=3`} {
		var out strings.Builder
		log := toSlog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})))
		log.With(zap.String("name", "a")).Error("it failed", zap.Int("n", 3))
		if got := out.String(); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%v: %q", level, got)
		}
	}
}
