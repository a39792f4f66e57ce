package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/config"
)

// iceOutcome is what a page tells of one connection: POST /api/v1/ice-outcomes. Each word
// is one of a few; there is nothing in it of who or where.
type iceOutcome struct {
	Result   string `json:"result"`
	Local    string `json:"local"`    // type of the selected candidate here …
	Remote   string `json:"remote"`   // … and at the other peer; "none" where none was selected
	Protocol string `json:"protocol"` // that carries it, to the relay if that is between
}

var (
	iceResults    = []string{"connected", "failed"}
	iceCandidates = []string{"host", "srflx", "prflx", "relay", "none"}
	iceProtocols  = []string{"udp", "tcp", "tls", "none"}
)

func (o *iceOutcome) valid() bool {
	return slices.Contains(iceResults, o.Result) && slices.Contains(iceCandidates, o.Local) &&
		slices.Contains(iceCandidates, o.Remote) && slices.Contains(iceProtocols, o.Protocol)
}

// outcomes counts what pages tell, so far as their address may.
type outcomes struct {
	counter *prometheus.CounterVec
	now     func() time.Time

	mu    sync.Mutex // guards the following
	since time.Time
	told  map[string]int // by address, since then
}

// An address may tell of so many outcomes in outcomePeriod, and so many addresses of any.
const (
	outcomesPerAddress = 60
	outcomeAddresses   = 10_000
	outcomePeriod      = time.Minute
)

func newOutcomes() *outcomes {
	o := &outcomes{
		counter: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rtcd_client_ice_outcomes_total",
			Help: "How connections of pages with the SDK came about, as they report it: candidate types of the selected pair and the protocol of this end.",
		}, []string{"result", "local", "remote", "protocol"}),
		now: time.Now,
	}
	o.counter.WithLabelValues("failed", "none", "none", "none")
	return o
}

// admit counts one more of an address, or says that it is too many.
func (o *outcomes) admit(address string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := o.now(); o.told == nil || now.Sub(o.since) >= outcomePeriod {
		o.since, o.told = now, map[string]int{}
	}
	n, known := o.told[address]
	if n >= outcomesPerAddress || !known && len(o.told) >= outcomeAddresses {
		return false
	}
	o.told[address] = n + 1
	return true
}

// serveOutcome takes the outcome of a connection from whoever may join.
func (a *api) serveOutcome(w http.ResponseWriter, r *http.Request) {
	a.allowOrigin(w, r)
	secret := bearerOf(r)
	if _, ok := a.bearer(secret, ""); !ok && a.info.Auth != config.AuthNone {
		if !a.isGuess(w, r, secret) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="rtcd"`)
			refuse(w, http.StatusUnauthorized, "unauthorized", "a join token is needed, as Bearer")
		}
		return
	}
	if !a.outcomes.admit(a.address(r)) {
		w.Header().Set("Retry-After", "60")
		refuse(w, http.StatusTooManyRequests, "rate", "too many outcomes from your address")
		return
	}
	var o iceOutcome
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1024))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil || !o.valid() {
		refuse(w, http.StatusBadRequest, "bad_request", "want result, local, remote and protocol, each one of the words of the protocol")
		return
	}
	a.outcomes.counter.WithLabelValues(o.Result, o.Local, o.Remote, o.Protocol).Inc()
	w.WriteHeader(http.StatusNoContent)
}
