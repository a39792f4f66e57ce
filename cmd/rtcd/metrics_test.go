package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"rtcd/signaling"
)

// published is every metric that dashboards and alerts of others may rest on.
var published = []string{
	"rtcd_build_info", "rtcd_node_state", "rtcd_turn_allocations", "rtcd_turn_allocations_created_total",
	"rtcd_turn_allocations_closed_total", "rtcd_turn_allocation_duration_seconds", "rtcd_turn_requests_total",
	"rtcd_turn_auth_failures_total", "rtcd_turn_relayed_bytes_total", "rtcd_turn_relayed_packets_total",
	"rtcd_turn_dropped_packets_total", "rtcd_turn_permission_denied_total", "rtcd_turn_quota_rejections_total",
	"rtcd_turn_relay_ports", "rtcd_stun_bindings_total", "rtcd_turn_unauthenticated_suppressed_total",
	"rtcd_turn_gro_segments_total", "rtcd_turn_gso_segments_total",
	"rtcd_signaling_connections", "rtcd_signaling_rooms", "rtcd_signaling_messages_total",
	"rtcd_signaling_send_queue_dropped_total", "rtcd_signaling_delivery_seconds", "rtcd_credentials_issued_total",
	"rtcd_external_address_changes_total", "rtcd_tls_certificate_expiry_timestamp_seconds",
	"rtcd_config_last_reload_successful", "rtcd_config_last_reload_success_timestamp_seconds",
}

// TestPublishedMetrics: they are there after a little use, none has a label that somebody
// outside chose, and what has happened is counted before it has ended.
func TestPublishedMetrics(t *testing.T) {
	r := newRunning(t, io.Discard, turnKeys(loopback(t), "peers: {allow: [127.0.0.1]}"), lookup)
	r.serve()
	defer r.end()
	flow := r.relayTo(turnOf(r.minter().Mint("observed")))
	r.join("observed")
	if err := flow.roundTrip(1, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	var names []string
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		names = append(names, f.GetName())
		if !strings.HasPrefix(f.GetName(), "rtcd_") {
			continue
		}
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", f.GetName())
		}
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
				if strings.Contains(l.GetValue(), "observed") || strings.Contains(l.GetValue(), "127.0.0.1:") {
					t.Errorf("%s: label %s is %q", f.GetName(), l.GetName(), l.GetValue())
				}
			}
			values[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for _, name := range published {
		if !slices.Contains(names, name) {
			t.Errorf("no metric %s", name)
		}
	}
	for key, want := range map[string]float64{
		"rtcd_node_state ready": 1, "rtcd_node_state draining": 0,
		"rtcd_turn_allocations ipv4 udp": 1, "rtcd_turn_relay_ports ipv4 used": 1,
		"rtcd_credentials_issued_total hub": 2, "rtcd_credentials_issued_total rest": 0, // the flow's, and who joined
	} {
		if got, ok := values[key]; got != want || !ok {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	if values["rtcd_turn_relayed_bytes_total sent udp"] == 0 {
		t.Error("what was relayed is not counted while the allocation lives")
	}
}

// turnOf is the server with credentials among what a member is given.
func turnOf(s signaling.ICEServers) signaling.ICEServer { return s.Servers[len(s.Servers)-1] }

// TestReady: /readyz says what stands in the way of sending somebody here.
func TestReady(t *testing.T) {
	r := startApp(t, io.Discard)
	want := func(status int, text string) {
		t.Helper()
		res, err := http.Get("http://" + r.admin.listeners[0].Addr().String() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || strings.TrimSpace(string(body)) != text {
			t.Errorf("%d %q %v, want %d %q", res.StatusCode, body, err, status, text)
		}
	}
	want(http.StatusOK, stateReady)

	policy := r.policy()
	none := policy
	none.Relays = nil
	r.turn.SetPolicy(none)
	want(http.StatusServiceUnavailable, stateNoRelay)
	r.turn.SetPolicy(policy)

	want(http.StatusOK, stateReady)

	r.life.draining.Store(true)
	want(http.StatusServiceUnavailable, stateDraining)
	r.end()
}

// TestCertificateIsValid: one that has expired, or is not there yet, makes nobody ready;
// where TLS is off none is needed.
func TestCertificateIsValid(t *testing.T) {
	now := time.Now()
	with := func(leaf *x509.Certificate) certSource {
		return certSource{get: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &tls.Certificate{Leaf: leaf}, nil }}
	}
	for name, c := range map[string]struct {
		source certSource
		want   bool
	}{
		"off":      {certSource{}, true},
		"none yet": {with(nil), false},
		"good":     {with(&x509.Certificate{NotAfter: now.Add(time.Second)}), true},
		"expired":  {with(&x509.Certificate{NotAfter: now}), false},
	} {
		if got := c.source.valid(now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
