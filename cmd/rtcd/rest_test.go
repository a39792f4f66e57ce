package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rtcd/creds"
)

// restAnswer is what programs take from the TURN REST API. Janus wants username and
// password to be strings, ttl an integer that is not negative, uris a list that is not
// empty.
type restAnswer struct {
	Username, Password *string
	TTL                *int
	URIs               []string
}

// The key has what a careless client would not escape.
const restKey = "a key/with+signs & of more=than 32 bytes"

// Programs ask as each is written to: Janus by GET, or by POST with the query twice, in the
// URL and as a form; Nextcloud Talk's signaling server is asked at a path of its own.
func TestProgramsAskForCredentials(t *testing.T) {
	r := newRunning(t, &logBook{}, turnKeys(loopback(t), "api_keys: ['"+restKey+"']"), lookup)
	r.serve()
	defer r.end()
	janus := url.Values{"service": {"turn"}, "api": {restKey}, "key": {restKey}, "username": {"3405691582"}}
	old := url.Values{"service": {"turn"}, "api": {restKey}} // Janus before 0.10, without a user
	spreed := url.Values{"service": {"turn"}, "key": {restKey}, "username": {"@a:b"}}
	for name, c := range map[string]struct {
		method, path string
		query, form  url.Values
		user         string
	}{
		"Janus, GET":             {http.MethodGet, "/turn", janus, nil, "3405691582"},
		"Janus, POST":            {http.MethodPost, "/turn", janus, janus, "3405691582"},
		"old Janus, GET":         {http.MethodGet, "/turn", old, nil, ""},
		"old Janus, POST":        {http.MethodPost, "/turn", old, old, ""},
		"POST without a form":    {http.MethodPost, "/turn", janus, nil, "3405691582"},
		"POST without a query":   {http.MethodPost, "/turn", nil, janus, "3405691582"},
		"as Talk is asked, GET":  {http.MethodGet, "/turn/credentials", spreed, nil, "@a:b"},
		"as Talk is asked, POST": {http.MethodPost, "/turn/credentials", spreed, nil, "@a:b"},
	} {
		request := httptest.NewRequest(c.method, c.path+"?"+c.query.Encode(), strings.NewReader(c.form.Encode()))
		if c.form != nil {
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		r.ServeHTTP(w, request)
		var got restAnswer
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Errorf("%s: status %d, error %v: %s", name, w.Code, err, w.Body)
			continue
		}
		if got.Username == nil || got.Password == nil || got.TTL == nil || *got.TTL < 0 || len(got.URIs) == 0 {
			t.Errorf("%s: something is missing: %s", name, w.Body)
			continue
		}
		if login, match := r.keys.Verify(*got.Username, *got.Password, time.Now()); !match || login.Verdict != creds.OK || login.User != c.user {
			t.Errorf("%s: %+v, match %v", name, login, match)
		}
		wantJanusURIs(t, got.URIs)
	}
}

// wantJanusURIs takes URIs apart as Janus does: at each colon and question mark, so that
// an IPv6 address without a name is lost on it.
func wantJanusURIs(t *testing.T, uris []string) {
	t.Helper()
	transports := []string{}
	for _, u := range uris {
		address, query, _ := strings.Cut(u, "?")
		parts := strings.Split(address, ":")
		if len(parts) != 3 || parts[0] != "turn" && parts[0] != "turns" || parts[1] == "" {
			t.Errorf("%s is nothing to Janus", u)
			continue
		}
		if _, err := strconv.ParseUint(parts[2], 10, 16); err != nil {
			t.Errorf("%s: %v", u, err)
		}
		transports = append(transports, query)
	}
	if !slices.Contains(transports, "transport=udp") || !slices.Contains(transports, "transport=tcp") {
		t.Errorf("%q lack a transport", uris)
	}
}

func TestProgramsWithoutAKeyGetNothing(t *testing.T) {
	r := newRunning(t, &logBook{}, turnKeys(loopback(t), "api_keys: ['"+restKey+"']"), lookup)
	r.serve()
	defer r.end()
	for query, code := range map[string]int{
		"service=turn":                                              http.StatusForbidden,
		"service=turn&key=":                                         http.StatusForbidden,
		"service=turn&api=wrong":                                    http.StatusForbidden,
		"key=" + url.QueryEscape(restKey):                           http.StatusBadRequest,
		"service=stun&key=" + url.QueryEscape(restKey):              http.StatusBadRequest,
		"service=turn&username=%00&key=" + url.QueryEscape(restKey): http.StatusBadRequest,
	} {
		for _, path := range restPaths {
			w := httptest.NewRecorder()
			r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path+"?"+query, nil))
			if w.Code != code || strings.Contains(w.Body.String(), "password") {
				t.Errorf("%s?%s: %d, want %d: %s", path, query, w.Code, code, w.Body)
			}
		}
	}
}
