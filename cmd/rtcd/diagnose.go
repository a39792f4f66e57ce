package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"rtcd/creds"
	"rtcd/diagnosis"
	"rtcd/signaling"
	"rtcd/turnsrv/relay"
)

// checkBegun is the first line that a check hears; PROTOCOL.md has the whole
// conversation.
type checkBegun struct {
	Type       string                `json:"type"` // "check"
	ID         string                `json:"id"`
	Now        int64                 `json:"now"`               // our clock, ms since 1970
	Address    string                `json:"address,omitempty"` // where the check comes from, as we see it
	TTL        int                   `json:"ttl"`               // seconds, of the credentials
	MaxTime    int                   `json:"maxTime"`           // seconds, of the check
	Restricted bool                  `json:"restricted"`        // the credentials only reach relayed addresses of ours
	Servers    []signaling.ICEServer `json:"iceServers"`        // one for each URL, the nth with credential n
	Relay      signaling.ICEServer   `json:"relay"`             // credential of the test from relay to relay; its URL is to be chosen
	Path       signaling.ICEServer   `json:"path"`              // and of the one from the relay to the client
}

// checkEnded is the last line.
type checkEnded struct {
	Type string `json:"type"` // "end"
}

// begin mints what a check needs. Credential n is that of URL n; the two after the last
// are for the tests that send data. All URLs are checked, those that the self-test has
// found down too.
func (m *minter) begin(c *diagnosis.Check, address string, restricted bool) checkBegun {
	out := checkBegun{
		Type: "check", ID: c.ID, Now: c.Began.UnixMilli(), Address: address, TTL: int(creds.CheckTTL.Seconds()),
		MaxTime: int(diagnosis.MaxTime.Seconds()), Restricted: restricted, Servers: []signaling.ICEServer{},
	}
	n := 0
	next := func(urls ...string) signaling.ICEServer {
		pair := m.keys.Issue(creds.UserOfCheck(c.ID, n, restricted), creds.CheckTTL, c.Began)
		n++
		return signaling.ICEServer{URLs: urls, Username: pair.Username, Credential: pair.Password}
	}
	for _, url := range m.advertised {
		server := next(url)
		if isSTUN(url) {
			server.Username, server.Credential = "", ""
		}
		out.Servers = append(out.Servers, server)
	}
	out.Relay, out.Path = next(), next()
	return out
}

// serveCheck begins a check for the bearer of a join token, or for anybody where checks
// are open, and streams to this request alone what the relay sees of it, a line of JSON
// each, until the client hangs up or the time is over.
func (a *api) serveCheck(w http.ResponseWriter, r *http.Request) {
	a.allowOrigin(w, r)
	secret := bearerOf(r)
	restricted := false
	b, ok := a.bearer(secret, "")
	if !ok {
		if !a.open || secret != "" {
			if a.isGuess(w, r, secret) {
				return
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="rtcd"`)
			refuse(w, http.StatusUnauthorized, "unauthorized", "a join token is needed, as Bearer")
			return
		}
		restricted = true
	}
	if a.isBarred(w, r, b) {
		return
	}
	address := a.address(r)
	var from []netip.Addr
	if addr, err := netip.ParseAddr(address); err == nil {
		from = append(from, addr)
	}
	a.stream(w, r, from, address, restricted || a.minter.restrict)
}

// serveLocalCheck begins a check by a program on this machine.
func (a *app) serveLocalCheck(w http.ResponseWriter, r *http.Request) {
	from := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	list, err := net.InterfaceAddrs()
	if err != nil {
		list = nil // nameless clients are then known by loopback addresses only
	}
	for _, have := range list {
		if p, err := netip.ParsePrefix(have.String()); err == nil && !p.Addr().IsLoopback() && len(from) < 16 {
			from = append(from, p.Addr().WithZone(""))
		}
	}
	a.now.Load().api.stream(w, r, from, "", false)
}

// stream holds a check for the time of a request.
func (a *api) stream(w http.ResponseWriter, r *http.Request, from []netip.Addr, address string, restricted bool) {
	check, err := a.desk.Open(time.Now(), from...)
	if err != nil {
		refuse(w, http.StatusTooManyRequests, "too_many", err.Error())
		return
	}
	defer check.Close()
	a.minter.issue(shapeCheck)
	out := http.NewResponseController(w)
	out.SetWriteDeadline(time.Now().Add(diagnosis.MaxTime + 10*time.Second))
	out.SetReadDeadline(time.Time{}) // the client says nothing more
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // of nginx, which else holds lines back
	line := func(v any) error {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return err
		}
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
		return out.Flush()
	}
	if line(a.minter.begin(check, address, restricted)) != nil {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case s, ok := <-check.Sightings():
			if !ok {
				line(checkEnded{"end"})
				return
			}
			if line(s) != nil {
				return
			}
		}
	}
}

// onEvent is what log and checks do with an event of the relay.
func (a *app) onEvent(e relay.Event) {
	a.events.put(e)
	a.desk.Event(e)
}

func isSTUN(url string) bool { return strings.HasPrefix(url, "stun") }
