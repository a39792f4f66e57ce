package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestOutcomesOfPages: only who may join is heard, only words of the protocol count, and an
// address that tells too many is not heard for a while.
func TestOutcomesOfPages(t *testing.T) {
	r := startApp(t, io.Discard)
	defer r.end()
	token := r.token("r")
	now := time.Now()
	r.outcomes.now = func() time.Time { return now }
	post := func(auth, body string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/api/v1/ice-outcomes", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if auth != "" {
			req.Header.Set("Authorization", "Bearer "+auth)
		}
		req.RemoteAddr = "192.0.2.7:1000"
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		return w.Code
	}
	const good = `{"result":"connected","local":"relay","remote":"srflx","protocol":"tls"}`
	for _, c := range []struct {
		auth, body string
		want       int
	}{
		{"", good, http.StatusUnauthorized},
		{"nobody's", good, http.StatusUnauthorized},
		{token, `{"result":"connected","local":"relay","remote":"alice","protocol":"tls"}`, http.StatusBadRequest},
		{token, `{"result":"connected","local":"relay","remote":"srflx","protocol":"tls","user":"alice"}`, http.StatusBadRequest},
		{token, `{"result":"connected"}`, http.StatusBadRequest},
		{token, strings.Repeat(" ", 2000) + good, http.StatusBadRequest},
		{token, ``, http.StatusBadRequest},
		{token, good, http.StatusNoContent},
		{token, `{"result":"failed","local":"none","remote":"none","protocol":"none"}`, http.StatusNoContent},
	} {
		if got := post(c.auth, c.body); got != c.want {
			t.Errorf("%.80s by %.9q: %d, want %d", c.body, c.auth, got, c.want)
		}
	}
	status := http.StatusNoContent
	for range outcomesPerAddress {
		if status = post(token, good); status != http.StatusNoContent {
			break
		}
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("an address that tells of more than %d is answered %d", outcomesPerAddress, status)
	}
	now = now.Add(outcomePeriod)
	if got := post(token, good); got != http.StatusNoContent {
		t.Errorf("a minute later: %d", got)
	}
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "rtcd_client_ice_outcomes_total" && len(f.GetMetric()) != 2 {
			t.Errorf("%d combinations are counted, want 2: %v", len(f.GetMetric()), f.GetMetric())
		}
	}
}
