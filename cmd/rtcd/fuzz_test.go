package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"rtcd/config"
	"rtcd/creds"
)

// FuzzAPI: whatever the public API is asked, it answers JSON without a 5xx; only the
// key and the token get credentials, for no other user than they may; and only pages
// of the listed origin may read the answer.
func FuzzAPI(f *testing.F) {
	const key, origin = "0123456789abcdef0123456789abcdef", "https://app.example.com"
	c, err := config.Load(config.Input{File: "config.yaml", Data: []byte("signaling: {origins: [" + origin + "]}\nturn: {api_keys: [" + key + "]}")})
	if err != nil {
		f.Fatal(err)
	}
	keys, err := creds.NewKeys(creds.KeysOptions{Secrets: []string{newSecret()}})
	if err != nil {
		f.Fatal(err)
	}
	tokens, err := creds.NewTokens(creds.TokensOptions{Secrets: []string{newSecret()}})
	if err != nil {
		f.Fatal(err)
	}
	token, err := tokens.Sign(creds.Claims{Room: "r", Subject: "alice", Expires: time.Now().Add(24 * time.Hour)})
	if err != nil {
		f.Fatal(err)
	}
	a := newAPI(c, &minter{keys: keys, turn: []string{"turn:a"}, ttl: time.Hour, log: discard()}, tokens, func(*http.Request) bool { return true }, func() *infoSelfTest { return nil }, nil)
	const good = "\x00key" // stands for the key, which no fuzzer guesses
	for _, s := range []struct{ path, query, auth, origin, body string }{
		{"ice", "username=bob", "Bearer " + good, origin, ""},
		{"ice", "username=alice", "Bearer \x00token", "https://x.app.example.com", ""},
		{"turn", "service=turn&username=bob&key=" + good, "", "", ""},
		{"turn", "", "bearer " + good, "null", "service=turn&username=%00"},
		{"turn", "api=" + good + "&service=turn", "", "https://app.example.com.evil.example", ""},
		{"turn", "%zz;", "", "", "a=%"},
		{"info", "", "", "*", ""},
		{"options", "", "Basic eA==", "https://app.example.com\r\nX: y", ""},
		{"ice", "username=%ff", "Bearer " + good, "", ""},
	} {
		f.Add(s.path, s.query, s.auth, s.origin, s.body)
	}
	f.Fuzz(func(t *testing.T, path, query, auth, from, body string) {
		fill := strings.NewReplacer("\x00key", key, "\x00token", token)
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(fill.Replace(body)))
		r.URL.RawQuery = fill.Replace(query)
		r.Header["Authorization"], r.Header["Origin"] = []string{fill.Replace(auth)}, []string{from}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		switch path {
		case "ice":
			a.serveICE(w, r)
		case "turn":
			a.serveREST(w, r)
		case "info":
			a.serveInfo(w, r)
		default:
			a.serveOptions(w, r)
		}
		text := w.Body.String()
		if w.Code >= 500 || w.Code != http.StatusNoContent && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d %q", w.Code, text)
		}
		if strings.Contains(text, key) || strings.Contains(text, token) {
			t.Fatalf("the answer tells a secret: %s", text)
		}
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != "" && (got != from || from != origin) {
			t.Fatalf("%q may read it, as %q", from, got)
		}
		given := fill.Replace(query + body + auth)
		wantNoGift(t, keys, w.Body.Bytes(), strings.Contains(given, key), strings.Contains(given, token))
	})
}

// wantNoGift checks the credentials in an answer, if there are any.
func wantNoGift(t *testing.T, keys *creds.Keys, body []byte, hasKey, hasToken bool) {
	var got struct {
		Username, Password string
		ICEServers         []struct{ Username, Credential string }
	}
	if json.Unmarshal(body, &got) != nil {
		return
	}
	for _, s := range got.ICEServers {
		got.Username, got.Password = s.Username, s.Credential
	}
	if got.Username == "" {
		return
	}
	login, ok := keys.Verify(got.Username, got.Password, time.Now())
	if !ok || login.Verdict != creds.OK || !hasKey && (!hasToken || login.User != "t.alice") {
		t.Fatalf("credentials of %q, with the key: %v, with a token: %v; %v", got.Username, hasKey, hasToken, login.Verdict)
	}
}
