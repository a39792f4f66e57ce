package signaling

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzOrigin: what a list admits is of the list: the host itself, the entry itself,
// or a name under its suffix; "null" and what is no origin are nobody.
func FuzzOrigin(f *testing.F) {
	for _, s := range [][2]string{
		{"https://a.example", "a.example"},
		{"https://a.example.", "a.example:443"},
		{"http://a.example:8080", "a.example:8080"},
		{"null", "a.example"},
		{"https://x.app.example.com", "a.example"},
		{"https://app.example.com", "a"},
		{"https://evilapp.example.com", "a"},
		{"https://a.example/x", "a.example"},
		{"https://u@a.example", "a.example"},
		{"https://[::1]:8443", "[::1]:8443"},
		{"HTTPS://A.EXAMPLE", "a.example"},
		{"https://a.example#x.app.example.com", "b"},
		{"https://b\\.app.example.com", "b"},
		{"https://b%2eapp.example.com", "b"},
		{"//a.example", "a.example"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, from, host string) {
		r := httptest.NewRequest(http.MethodGet, "/ws", nil)
		r.Host = host
		r.Header["Origin"] = []string{from}
		o, isOrigin := parseOrigin(from)
		if originAllowed([]string{"*"}, r) != isOrigin {
			t.Fatalf("%q is an origin: %v", from, isOrigin)
		}
		if originAllowed([]string{"self"}, r) && !strings.HasPrefix(strings.ToLower(strings.Trim(host, "[]")), strings.ToLower(o.host)) && !strings.Contains(strings.ToLower(host), o.host) {
			t.Fatalf("%q passes for %q", from, host)
		}
		if originAllowed([]string{"https://*.app.example.com"}, r) {
			after, _ := strings.CutPrefix(strings.ToLower(from), "https://")
			if name := strings.TrimSuffix(strings.TrimSuffix(after, ":443"), "."); !strings.HasSuffix(name, ".app.example.com") || strings.ContainsAny(name, "/?#@\\") {
				t.Fatalf("%q passes for *.app.example.com", from)
			}
		}
		if originAllowed(nil, r) {
			t.Fatalf("%q passes for nothing", from)
		}
	})
}
