package diagnosis

import (
	"net/netip"
	"strconv"
	"strings"

	"rtcd/turnsrv/relay"
)

// Attempt is what a client made of one URL.
type Attempt struct {
	OK        bool
	Transport string // udp, tcp, tls, dtls
	TURN      bool   // false: a Binding only
	Code      int    // the server's last refusal, 0 if it gave none
	Whole     bool   // every sighting of it was heard
}

// View is what the server saw of an attempt, joined with what the client made of it: a
// code for words, and what they name. Web pages join in the same way
// (web/static/sdk/check-trace.js) and have the words (web/static/i18n). The code "" is
// that nothing can be said.
type View struct {
	Code   string
	Values map[string]string
}

func view(code string, values ...string) View {
	v := View{Code: code, Values: map[string]string{}}
	for i := 0; i+1 < len(values); i += 2 {
		v.Values[values[i]] = values[i+1]
	}
	return v
}

// ViewOf joins an attempt with the sightings that are of it.
func ViewOf(a Attempt, seen []Sighting) View {
	last := func(see string) *Sighting {
		for i := len(seen) - 1; i >= 0; i-- {
			if seen[i].See == see {
				return &seen[i]
			}
		}
		return nil
	}
	allocated := last(seeAllocated)
	if !a.TURN {
		allocated = last(relay.TraceBound.String())
	}
	if a.OK {
		if allocated == nil {
			return View{}
		}
		return view(allocated.See, "relay", first(allocated.Relays))
	}
	if s := refusal(seen); s != nil {
		return refusalView(s)
	}
	switch {
	case allocated != nil && a.TURN && relayedOneWay(seen):
		return view("one-way", "sent", sum(seen, func(s Sighting) uint64 { return s.Sent }))
	case allocated != nil:
		return view("answer-lost", "client", clientOf(allocated))
	case last(relay.TraceChallenged.String()) != nil:
		return view("answer-lost", "client", clientOf(last(relay.TraceChallenged.String())))
	}
	if s := last(relay.TraceSilenced.String()); s != nil {
		return view("limited", "why", s.Why)
	}
	if s := last(relay.TraceTLSFailed.String()); s != nil {
		if alert, ok := strings.CutPrefix(s.Why, "alert: "); ok {
			return view("tls-alert", "alert", strings.TrimPrefix(alert, "tls: "), "name", s.Name)
		}
		return view("tls-failed", "why", s.Why, "name", s.Name)
	}
	secured := last(relay.TraceSecured.String()) != nil
	switch {
	case !secured && a.Transport == "tls" && last(relay.TraceConnected.String()) != nil:
		return view("tls-late")
	case secured || last(relay.TraceConnected.String()) != nil:
		return view("stuck")
	case !a.Whole:
		return View{} // it may have been told
	case a.Code >= 300:
		return view("elsewhere")
	}
	return view("nothing")
}

// refusal is the last one that is not only a matter of asking again.
func refusal(seen []Sighting) *Sighting {
	for i := len(seen) - 1; i >= 0; i-- {
		if s := &seen[i]; s.See == relay.TraceRefused.String() && s.Code != 438 {
			return s
		}
	}
	return nil
}

func refusalView(s *Sighting) View {
	switch {
	case s.Code == 401 && s.Why != "":
		return view(s.Why, "late", strconv.FormatInt(s.Late, 10))
	case s.Code == 486 && s.Why != "":
		return view("quota-" + s.Why)
	case (s.Code == 508 || s.Code == 300) && s.Why != "":
		return view(s.Why)
	case (s.Code == 403 || s.Code == 443) && s.Peer != nil:
		return view("peer-refused", "peer", s.Peer.Addr().String(), "rule", s.Why)
	}
	return view("refused", "code", strconv.Itoa(s.Code), "why", s.Why)
}

// relayedOneWay reports whether the relay sent and heard nothing.
func relayedOneWay(seen []Sighting) bool {
	sent, received := false, false
	for _, s := range seen {
		sent, received = sent || s.Sent > 0, received || s.Received > 0
	}
	return sent && !received
}

func sum(seen []Sighting, of func(Sighting) uint64) string {
	var n uint64
	for _, s := range seen {
		if s.See == seeClosed {
			n += of(s)
		}
	}
	return strconv.FormatUint(n, 10)
}

func first(list []netip.AddrPort) string {
	if len(list) == 0 {
		return ""
	}
	return list[0].String()
}

func clientOf(s *Sighting) string {
	if s.Client == nil {
		return ""
	}
	return s.Client.String()
}
