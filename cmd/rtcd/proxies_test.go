package main

import (
	"net/http"
	"testing"
)

// TestForwardedAddresses are believed only as far as trusted proxies tell them.
func TestForwardedAddresses(t *testing.T) {
	behind := loadText(t, `listen: {trusted_proxies: [10.0.0.0/8, "2001:db8::7"]}`).Listen.TrustedProxies
	for _, c := range []struct {
		remote    string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:5", nil, "192.0.2.1"},
		{"192.0.2.1:5", []string{"198.51.100.1"}, "192.0.2.1"},
		{"10.1.2.3:5", nil, "10.1.2.3"},
		{"10.1.2.3:5", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.1.2.3:5", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"}, // the first one is the client's own invention
		{"10.1.2.3:5", []string{"203.0.113.9", "198.51.100.1, 10.9.9.9"}, "198.51.100.1"},
		{"10.1.2.3:5", []string{"10.9.9.9"}, "10.9.9.9"},
		{"10.1.2.3:5", []string{"198.51.100.1, unknown"}, "10.1.2.3"},
		{"10.1.2.3:5", []string{"198.51.100.1:77"}, "10.1.2.3"},
		{"[2001:db8::7]:5", []string{"2001:db8::1"}, "2001:db8::1"},
		{"[::ffff:10.1.2.3]:5", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"@", []string{"198.51.100.1"}, "@"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.forwarded}}
		if got := clientAddress(behind)(r); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.remote, c.forwarded, got, c.want)
		}
		if got, want := clientAddress(nil)(r), clientAddress(nil)(&http.Request{RemoteAddr: c.remote}); got != want {
			t.Errorf("%s: with no trusted proxy a header makes it %s", c.remote, got)
		}
	}
}
