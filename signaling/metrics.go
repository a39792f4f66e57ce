package signaling

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the hub's counters. No label is a name that a client chose.
type metrics struct {
	sockets  prometheus.Gauge
	sessions *prometheus.GaugeVec // by dialect
	away     prometheus.Gauge
	received *prometheus.CounterVec // by verb
	refused  *prometheus.CounterVec // by error code
	closed   *prometheus.CounterVec // by close code
	rejected *prometheus.CounterVec // upgrades, by reason
	delayed  prometheus.Counter
	sent     prometheus.Counter
	resumed  prometheus.Counter
	minted   prometheus.Counter
	revoked  prometheus.Counter
	panics   prometheus.Counter

	verbs map[string]prometheus.Counter // received, looked up beforehand
}

func newMetrics(r prometheus.Registerer) *metrics {
	name := func(n, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "rtcd", Subsystem: "signaling", Name: n, Help: help}
	}
	gauge := func(n, help string) prometheus.Gauge { return prometheus.NewGauge(prometheus.GaugeOpts(name(n, help))) }
	counter := func(n, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(name(n, help)))
	}
	vec := func(n, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(name(n, help)), []string{label})
	}
	m := &metrics{
		sockets: gauge("sockets", "Open WebSockets of the native protocol."),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts(name("sessions",
			"Sessions, those that may still resume included.")), []string{"dialect"}),
		away:     gauge("sessions_away", "Sessions without a socket that may still resume."),
		received: vec("messages_received_total", "Messages taken from clients.", "type"),
		refused:  vec("messages_refused_total", "Messages answered by an error.", "code"),
		closed:   vec("sessions_closed_total", "Sessions that ended, by close code.", "code"),
		rejected: vec("upgrades_rejected_total", "WebSockets refused before they were one.", "reason"),
		delayed:  counter("hellos_delayed_total", "Refused hellos answered late, for many came from their address."),
		sent:     counter("messages_sent_total", "Events handed to transports."),
		resumed:  counter("sessions_resumed_total", "Sessions taken up again."),
		minted:   counter("credentials_minted_total", "Credentials minted for members."),
		revoked:  counter("credentials_revoked_total", "Members whose credentials were revoked."),
		panics:   counter("panics_total", "Panics caught in a session's goroutine."),
	}
	m.sessionsOf("").Set(0)
	m.verbs = map[string]prometheus.Counter{}
	for _, verb := range []string{
		TypeHello, TypeJoin, TypeLeave, TypeSignal, TypeMessage, TypeUpdate, TypeICE, TypePing, TypeBye,
	} {
		m.verbs[verb] = m.received.WithLabelValues(verb)
	}
	if r != nil {
		r.MustRegister(m.sockets, m.sessions, m.away, m.received, m.refused, m.closed,
			m.rejected, m.delayed, m.sent, m.resumed, m.minted, m.revoked, m.panics)
	}
	return m
}

// sessionsOf counts the sessions of a dialect.
func (m *metrics) sessionsOf(dialect string) prometheus.Gauge {
	return m.sessions.WithLabelValues(cmp.Or(dialect, "native"))
}

// verb counts messages of a type that ParseMessage admits.
func (m *metrics) verb(name string) prometheus.Counter {
	if c := m.verbs[name]; c != nil {
		return c
	}
	return m.received.WithLabelValues(name)
}
