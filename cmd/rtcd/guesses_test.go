package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"rtcd/creds"
)

// door is a way to present a token, or an API key, which stands for SECRET.
type door struct {
	path    string
	bearer  string
	upgrade bool
}

var doors = []door{
	{path: "/api/v1/ice-servers", bearer: "SECRET"},
	{path: "/turn?service=turn&key=KEY"},
	{path: "/turn?service=turn", bearer: "KEY"},
	{path: "/socket.io/?EIO=4&transport=polling&token=SECRET"},
	{path: "/socket.io/?EIO=3&transport=websocket&token=SECRET", upgrade: true},
	{path: "/json/team?token=SECRET", upgrade: true},
	{path: "/?token=SECRET", upgrade: true},
	{path: "/peerjs?key=SECRET&id=ann&token=a", upgrade: true},
	{path: "/SECRET/id"},
	{path: "/SECRET/peers"},
}

// knock asks at a door.
func (r *running) knock(ctx context.Context, d door, token, key string) (status int, err error) {
	r.t.Helper()
	fill := strings.NewReplacer("SECRET", token, "KEY", key)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.site("https")+fill.Replace(d.path), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if d.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+fill.Replace(d.bearer))
	}
	if d.upgrade {
		for name, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
		} {
			req.Header.Set(name, value)
		}
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}, DisableKeepAlives: true}
	answer, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		_, err = io.Copy(io.Discard, answer.Body)
	}
	return answer.StatusCode, errors.Join(err, answer.Body.Close())
}

// counter is the value of a metric without labels.
func (r *running) counter(name string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	r.t.Fatalf("no metric %s", name)
	return 0
}

// TestGuessersWaitAtEveryDoor: tokens and keys that are worth nothing are counted together,
// wherever they are shown; after ten of one address every door is slow to say no, and good
// ones pass as before.
func TestGuessersWaitAtEveryDoor(t *testing.T) {
	const key, late = "0123456789abcdef0123456789abcdef", "rtcd_signaling_hellos_delayed_total"
	text := strings.Replace(loopback(t), "turn: {external_ip", "turn: {api_keys: ["+key+"], external_ip", 1)
	r := newRunning(t, io.Discard, text+"signaling: {dialects: {peerjs_discovery: true}}\n", lookup)
	r.serve()
	defer r.end()
	token, err := r.tokens.Sign(creds.Claims{Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	const bad = "nobody-signed-this"
	for i := range 10 {
		// Each of another door.
		status, err := r.knock(t.Context(), doors[i], bad, bad)
		refused := status == http.StatusUnauthorized || status == http.StatusForbidden
		if err != nil || !refused && !strings.Contains(doors[i].path, "peerjs") && doors[i].path != "/SECRET/id" {
			t.Errorf("%s with a bad secret: %d, %v", doors[i].path, status, err)
		}
	}
	if n := r.counter(late); n != 0 {
		t.Errorf("%v of the first ten answers were late", n)
	}
	for _, d := range doors {
		before, begin := r.counter(late), time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		answered := make(chan struct{})
		go func() { // ends with ctx
			defer close(answered)
			r.knock(ctx, d, bad, bad)
		}()
		for waits := true; waits && r.counter(late) == before; {
			select {
			case <-answered:
				waits = false
			case <-time.After(time.Millisecond): // between two looks
			}
		}
		if r.counter(late) != before+1 {
			t.Errorf("%s with a bad secret, after many: no answer is late", d.path)
		}
		select {
		case <-answered:
			if took := time.Since(begin); took < time.Second { // the least that it is late
				t.Errorf("%s with a bad secret, after many: the answer came after %v", d.path, took)
			}
		case <-time.After(50 * time.Millisecond): // what comes at once is here by then
		}
		cancel()
		<-answered
	}
	before := r.counter(late)
	for _, d := range doors {
		if status, err := r.knock(t.Context(), d, token, key); err != nil || status != http.StatusOK && status != http.StatusSwitchingProtocols {
			t.Errorf("%s with a good secret, after many bad ones: %d, %v", d.path, status, err)
		}
	}
	for _, path := range []string{"/api/v1/ice-servers", "/turn?service=turn"} { // who shows nothing does not guess
		if status, err := r.knock(t.Context(), door{path: path}, "", ""); err != nil || status != http.StatusUnauthorized && status != http.StatusForbidden {
			t.Errorf("%s without a secret: %d, %v", path, status, err)
		}
	}
	if n := r.counter(late); n != before {
		t.Errorf("%v answers to good secrets, or to none, were late", n-before)
	}
}
