package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"rtcd/creds"
	"rtcd/webhook"
)

// endpoint is an operator's server: it wants good signatures, lets the token "opaque" in and
// takes records.
type endpoint struct {
	*httptest.Server
	mu      sync.Mutex
	joins   int
	records []string
	names   map[string]bool // of deliveries
	faults  []string
}

const hookSecret = "a webhook secret of 32 bytes or more"

func newEndpoint(t *testing.T) *endpoint {
	e := &endpoint{names: map[string]bool{}}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := webhook.Verify(hookSecret, r.Header.Get(webhook.SignatureHeader), body, time.Now(), time.Minute); err != nil {
		e.faults = append(e.faults, err.Error())
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var asked struct {
		Token   string
		Records []struct{ Event, User string }
	}
	json.Unmarshal(body, &asked)
	name := r.Header.Get("Rtcd-Delivery")
	if e.names[name] {
		return // once more, because its answer was lost
	}
	e.names[name] = true
	for _, r := range asked.Records {
		e.records = append(e.records, r.Event+" "+r.User)
	}
	if r.URL.Path == "/join" {
		e.joins++
		fmt.Fprintf(w, `{"allow": %v, "room": "r", "name": "Oscar"}`, asked.Token == "opaque")
	}
}

// tryJoin says hello with a token and returns the type of the answer and the code of a refusal.
func (r *running) tryJoin(token string) (string, string) {
	r.t.Helper()
	socket, _ := r.dial("/ws", nil)
	if err := socket.WriteJSON(map[string]string{"type": "hello", "token": token, "room": "r"}); err != nil {
		r.t.Fatal(err)
	}
	var m struct{ Type, Code, User string }
	if err := socket.ReadJSON(&m); err != nil {
		r.t.Fatal(err)
	}
	return m.Type, m.Code + m.User
}

// TestTheBannedGetNoCredentials: neither at the hub nor by HTTP, while their token holds.
func TestTheBannedGetNoCredentials(t *testing.T) {
	r := newRunning(t, io.Discard, turnKeys(loopback(t), ""), lookup)
	r.serve()
	defer r.end()
	sign := func(subject string) string {
		token, err := r.tokens.Sign(creds.Claims{Room: "r", Subject: subject, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	bad, good := sign("bad"), sign("good")
	if kind, detail := r.tryJoin(bad); kind != "welcome" {
		t.Fatal(kind, detail)
	}
	for _, m := range r.hub.Members() {
		r.hub.Ban(m.Peer, "", time.Hour)
	}
	if kind, detail := r.tryJoin(bad); kind+detail != "errorforbidden" {
		t.Errorf("the banned joins: %s %s", kind, detail)
	}
	for _, c := range []struct {
		method, path, token string
		want                int
	}{
		{http.MethodGet, "/api/v1/ice-servers", bad, http.StatusForbidden},
		{http.MethodPost, "/api/v1/check", bad, http.StatusForbidden},
		{http.MethodGet, "/api/v1/ice-servers", good, http.StatusOK},
	} {
		req := httptest.NewRequest(c.method, c.path, nil)
		req.Header.Set("Authorization", "Bearer "+c.token)
		w := httptest.NewRecorder()
		if r.ServeHTTP(w, req); w.Code != c.want || c.want != http.StatusOK && strings.Contains(w.Body.String(), "credential") {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
	}
}

// TestWhoMayJoin: our own tokens, those of another issuer by its keys, and what an endpoint
// admits; nobody else. A reload changes whom; records of the relay go to the endpoint too,
// the last one when the process ends.
func TestWhoMayJoin(t *testing.T) {
	e := newEndpoint(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "jwks.json")
	set := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
	if err := os.WriteFile(keys, []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"room": "r", "name": "Fay", "aud": "rtcd", "exp": time.Now().Add(time.Hour).Unix()})
	foreign.Header["kid"] = "1"
	issued, err := foreign.SignedString(private)
	if err != nil {
		t.Fatal(err)
	}

	base := loopback(t)
	sections := func(jwks, hook string) string {
		return base + fmt.Sprintf("signaling: {jwks: {%s}, webhook: {%s}}\naccounting: {webhook: %s/records}\nwebhooks: {secrets: [%s]}\n",
			jwks, hook, e.URL, hookSecret)
	}
	withKeys, withHook := fmt.Sprintf("source: %s, audience: rtcd", keys), "url: "+e.URL+"/join"
	r := newRunning(t, io.Discard, sections(withKeys, withHook), lookup)
	r.serve()
	want := func(step, token, kind, detail string) {
		t.Helper()
		if gotKind, got := r.tryJoin(token); gotKind != kind || got != detail {
			t.Errorf("%s: %s %s, want %s %s", step, gotKind, got, kind, detail)
		}
	}
	want("our own", r.token("r"), "welcome", "")
	want("the issuer's", issued, "welcome", "Fay")
	if e.joins != 0 {
		t.Error("the endpoint is asked about tokens that others know")
	}
	want("the endpoint's", "opaque", "welcome", "Oscar")
	want("nobody's", "guess", "error", "unauthorized")

	// Credentials go to the same people.
	req := httptest.NewRequest(http.MethodGet, "/api/v1/ice-servers", nil)
	req.Header.Set("Authorization", "Bearer "+issued)
	w := httptest.NewRecorder()
	if r.ServeHTTP(w, req); w.Code != http.StatusOK {
		t.Errorf("the issuer's bearer gets no credentials: %d", w.Code)
	}

	r.mustReload(sections("source: ''", withHook), "signaling.jwks.source", "signaling.jwks.audience")
	want("the issuer's, which is no issuer any more", issued, "error", "unauthorized")
	r.write(sections("source: /nowhere.json", withHook))
	if _, err := r.reload(t.Context()); err == nil || !strings.Contains(err.Error(), "/nowhere.json") {
		t.Errorf("keys that are not there: %v", err)
	}
	r.mustReload(sections(withKeys, "url: ''"), "signaling.jwks.source", "signaling.jwks.audience", "signaling.webhook.url")
	want("the issuer's, again", issued, "welcome", "Fay")
	want("the endpoint's, which is off", "opaque", "error", "unauthorized")

	flow := r.relayTo(r.mint("ann"))
	r.eventually("the endpoint has the start", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.records) == 1
	})
	for _, c := range r.clients {
		c.Close()
	}
	r.signals <- os.Interrupt // its stop is the last record
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	flow.conn.Close()
	e.Close()
	if left := leftBehind(); left != "" {
		t.Errorf("goroutines are left:\n%s", left)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if got := strings.Join(e.records, ", "); got != "start ann, stop ann" || len(e.faults) > 0 {
		t.Errorf("records %q, faults %q", got, e.faults)
	}
}
