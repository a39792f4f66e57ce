package turnsrv

import (
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/turnsrv/relay"
)

// Metrics returns every counter of the server, summed over its goroutines: those
// of relay.Totals and those of the shell. Names are without "rtcd_turn_" and
// "_total"; labels come from fixed sets.
func (s *Server) Metrics() []relay.Metric {
	var m metrics
	s.mu.Lock()
	rounds := s.rounds
	s.mu.Unlock()
	for _, r := range rounds {
		r.totals.Each(m.add)
	}
	s.shellDrops.Each(m.add)
	s.lives.each(m.add)
	for _, p := range s.table.Population() {
		m.add(relay.Metric{Name: "allocations_created", Labels: populationLabels(p), Value: p.Created})
	}

	u := s.loop.Stats()
	m.drop(relay.WriteFailed, u.Full+u.Unreachable+u.TooBig+u.Failed)
	m.drop(relay.Overflow, u.Overflows)
	for _, f := range []struct {
		name  string
		label string
		value uint64
	}{
		{"udp_send_errors", "full", u.Full},
		{"udp_send_errors", "unreachable", u.Unreachable},
		{"udp_send_errors", "too_big", u.TooBig},
		{"udp_send_errors", "other", u.Failed},
	} {
		m.add(relay.Metric{Name: f.name, Labels: []relay.Label{{Name: "reason", Value: f.label}}, Value: f.value})
	}
	m.plain("udp_read_calls", u.ReadCalls)
	m.plain("udp_read_packets", u.ReadPackets)
	m.plain("udp_write_calls", u.WriteCalls)
	m.plain("udp_write_packets", u.WritePackets)
	m.plain("gro_segments", u.GROPackets)
	m.plain("gso_segments", u.GSOPackets)

	m.plain("accept_errors", s.acceptErrors.Load())
	m.plain("panics", s.panics.Load())
	for i := range endLabels {
		m.add(relay.Metric{
			Name:   "connections_ended",
			Labels: []relay.Label{{Name: "reason", Value: endLabels[i].label}},
			Value:  s.ends[i].Load(),
		})
	}
	s.refused.Range(func(why, n any) bool {
		m.add(relay.Metric{
			Name:   "connections_refused",
			Labels: []relay.Label{{Name: "reason", Value: why.(string)}},
			Value:  n.(*atomic.Uint64).Load(),
		})
		return true
	})
	m.plain("unauthenticated_suppressed", m.suppressed())
	return m.list
}

// suppressed sums up the answers that strangers did not get.
func (m *metrics) suppressed() (n uint64) {
	for _, x := range m.list {
		if x.Name == "dropped_packets" && isLimit[x.Labels[0].Value] {
			n += x.Value
		}
	}
	return n
}

func populationLabels(p relay.Population) []relay.Label {
	return []relay.Label{{Name: "transport", Value: p.Transport.String()}, {Name: "family", Value: p.Family}}
}

// metrics adds up counters of equal name and labels.
type metrics struct {
	list []relay.Metric
	at   map[string]int // index in list
}

func (m *metrics) add(x relay.Metric) {
	var key strings.Builder
	key.WriteString(x.Name)
	for _, l := range x.Labels {
		key.WriteByte(0)
		key.WriteString(l.Value)
	}
	if i, ok := m.at[key.String()]; ok {
		m.list[i].Value += x.Value
		return
	}
	if m.at == nil {
		m.at = map[string]int{}
	}
	m.at[key.String()] = len(m.list)
	m.list = append(m.list, x)
}

func (m *metrics) plain(name string, v uint64) { m.add(relay.Metric{Name: name, Value: v}) }

func (m *metrics) drop(why relay.Reason, n uint64) {
	m.add(relay.Metric{Name: "dropped_packets", Labels: []relay.Label{{Name: "reason", Value: why.String()}}, Value: n})
}

// Connections counts the live connections by transport (TCP, TLS, DTLS).
func (s *Server) Connections() map[relay.Transport]int {
	n := map[relay.Transport]int{relay.TCP: 0, relay.TLS: 0, relay.DTLS: 0}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		n[c.client.Transport]++
	}
	return n
}

// Collector returns the metrics for a Prometheus registry: counters named
// rtcd_turn_…_total and rtcd_stun_bindings_total, the gauges rtcd_turn_allocations,
// rtcd_turn_connections and rtcd_turn_relay_ports, and a histogram of durations.
func (s *Server) Collector() prometheus.Collector { return collector{s} }

type collector struct{ srv *Server }

// Describe sends nothing: which labels there are shows only when they have counted.
func (c collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(out chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name string, labels []relay.Label, v float64) {
		var names, values []string
		for _, l := range labels {
			names, values = append(names, l.Name), append(values, l.Value)
		}
		desc := prometheus.NewDesc(name, help[strings.TrimSuffix(name[len("rtcd_turn_"):], "_total")], names, nil)
		out <- prometheus.MustNewConstMetric(desc, kind, v, values...)
	}
	for _, m := range c.srv.Metrics() {
		prefix := "rtcd_turn_"
		if m.Name == relay.Bindings {
			prefix = "rtcd_stun_"
		}
		send(prometheus.CounterValue, prefix+m.Name+"_total", m.Labels, float64(m.Value))
	}
	for _, p := range c.srv.table.Population() {
		send(prometheus.GaugeValue, "rtcd_turn_allocations", populationLabels(p), float64(p.Live))
	}
	for _, u := range c.srv.table.Ports(c.srv.now()) {
		for state, n := range map[string]int{"used": u.Used, "resting": u.Resting, "free": u.Free} {
			labels := []relay.Label{{Name: "state", Value: state}, {Name: "family", Value: u.Family}}
			send(prometheus.GaugeValue, "rtcd_turn_relay_ports", labels, float64(n))
		}
	}
	c.srv.lives.durations.Collect(out)
	for t, n := range c.srv.Connections() {
		send(prometheus.GaugeValue, "rtcd_turn_connections", []relay.Label{{Name: "transport", Value: t.String()}}, float64(n))
	}
}

var help = map[string]string{
	"relayed_bytes":              "Application data relayed, in bytes, by the client's transport.",
	"relayed_packets":            "Application packets relayed, by the client's transport.",
	"dropped_packets":            "Packets that went no further, by reason.",
	"requests":                   "STUN and TURN requests answered, by method and error code.",
	"udp_send_errors":            "Datagrams that the kernel did not take.",
	"udp_read_calls":             "System calls that read datagrams.",
	"udp_read_packets":           "Datagrams read.",
	"udp_write_calls":            "System calls that wrote datagrams.",
	"udp_write_packets":          "Datagrams written.",
	"gro_segments":               "Datagrams that the kernel delivered joined with others (UDP_GRO).",
	"gso_segments":               "Datagrams handed to the kernel joined with others (UDP_SEGMENT).",
	"accept_errors":              "Connections that could not be accepted.",
	"panics":                     "Panics recovered from.",
	"connections_ended":          "Connections ended by the server, by reason.",
	"connections_refused":        "Connections refused at once, by the limit that they met.",
	"allocations":                "Live allocations, by the client's transport and the family of the relayed addresses.",
	"allocations_created":        "Allocations made.",
	"allocations_closed":         "Allocations that ended, by reason.",
	"auth_failures":              "Requests with credentials that were refused, by reason. A stale nonce is everyday life.",
	"quota_rejections":           "Allocations refused, by the quota that was full.",
	"permission_denied":          "Permissions and channels refused, by the rule that stands against the peer.",
	"unauthenticated_suppressed": "Answers that strangers did not get, because there were too many of them.",
	"relay_ports":                "Relay ports, by state and family; resting ones were used lately.",
	"bindings":                   "Binding requests answered, by transport.",
	"connections":                "Live client connections, by transport.",
}
