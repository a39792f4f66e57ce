package signaling

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the hub's counters. No label is a name that a client chose.
type metrics struct {
	sockets  prometheus.Gauge     // "connections"
	sessions *prometheus.GaugeVec // by dialect
	away     prometheus.Gauge
	received *prometheus.CounterVec // by type
	refused  *prometheus.CounterVec // by error code
	closed   *prometheus.CounterVec // by close code
	rejected *prometheus.CounterVec // upgrades, by reason
	delayed  prometheus.Counter
	overfull prometheus.Counter
	delivery prometheus.Histogram
	resumed  prometheus.Counter
	minted   prometheus.Counter
	stripped prometheus.Counter
	revoked  prometheus.Counter
	panics   prometheus.Counter

	// Messages by direction and type, looked up beforehand.
	verbs  map[string]prometheus.Counter // received
	events map[string]prometheus.Counter // sent
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
		sockets: gauge("connections", "Open WebSockets of the native protocol."),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts(name("sessions",
			"Sessions, those that may still resume included.")), []string{"dialect"}),
		away:     gauge("sessions_away", "Sessions without a socket that may still resume."),
		refused:  vec("messages_refused_total", "Messages answered by an error.", "code"),
		closed:   vec("sessions_closed_total", "Sessions that ended, by close code.", "code"),
		rejected: vec("upgrades_rejected_total", "WebSockets refused before they were one.", "reason"),
		delayed:  counter("hellos_delayed_total", "Refused hellos and requests answered late, for many came from their address."),
		overfull: counter("send_queue_dropped_total", "Events that found a member's queue full; the member is put out as too slow."),
		delivery: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "rtcd", Subsystem: "signaling", Name: "delivery_seconds",
			Help:    "Of each write, or of up to 64 in a row, from the reading of the oldest message in it to its end; the time that a member was away counts.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 2.5, 30},
		}),
		resumed:  counter("sessions_resumed_total", "Sessions taken up again."),
		stripped: counter("candidates_stripped_total", "Host candidates kept back by strip_host_candidates."),
		minted:   counter("credentials_minted_total", "Credentials minted for members."),
		revoked:  counter("credentials_revoked_total", "Members whose credentials were revoked."),
		panics:   counter("panics_total", "Panics caught in a session's goroutine."),
	}
	m.sessionsOf("").Set(0)
	messages := prometheus.NewCounterVec(prometheus.CounterOpts(name("messages_total",
		"Messages of members, of all protocols: taken from them, and handed to their transports.")), []string{"direction", "type"})
	m.received = messages.MustCurryWith(prometheus.Labels{"direction": "received"})
	m.verbs, m.events = map[string]prometheus.Counter{}, map[string]prometheus.Counter{}
	for _, event := range []string{
		TypeWelcome, TypeJoined, TypePeer, TypeSignal, TypeMessage, TypeICE, TypeOK, TypePong, TypePing, TypeError, TypeGoing, otherEvent,
	} {
		m.events[event] = messages.WithLabelValues("sent", event)
	}
	for _, verb := range []string{
		TypeHello, TypeJoin, TypeLeave, TypeSignal, TypeMessage, TypeUpdate, TypeICE, TypePing, TypeBye,
	} {
		m.verbs[verb] = m.received.WithLabelValues(verb)
	}
	if r != nil {
		r.MustRegister(m.sockets, m.sessions, m.away, messages, m.refused, m.closed,
			m.rejected, m.delayed, m.overfull, m.delivery, m.resumed, m.minted, m.stripped, m.revoked, m.panics)
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

// otherEvent is the type of events that have none of the native protocol.
const otherEvent = "other"

// tally counts the events of one write, or of many that one goroutine makes in a row, and
// observes the one of them that waited longest: the histogram costs as much as a tenth of
// sending a message. The zero tally is empty.
type tally struct {
	kind string // of those that are not counted yet
	n    int
	born int64 // of the oldest; 0 if none was born
}

// add counts a batch that was sent.
func (t *tally) add(m *metrics, batch []Frame) {
	for _, f := range batch {
		if f.Event.Type != t.kind {
			t.count(m)
			t.kind = f.Event.Type
		}
		t.n++
		if born := f.Event.born; born != 0 && (t.born == 0 || born < t.born) {
			t.born = born
		}
	}
}

// count moves what t has of one type into its counter.
func (t *tally) count(m *metrics) {
	if t.n == 0 {
		return
	}
	c := m.events[t.kind]
	if c == nil {
		c = m.events[otherEvent]
	}
	c.Add(float64(t.n))
	t.n = 0
}

// tell gives what t has to m, at the end of the writes.
func (t *tally) tell(m *metrics, now time.Time) {
	t.count(m)
	if t.born != 0 {
		m.delivery.Observe(time.Duration(now.UnixNano() - t.born).Seconds())
	}
	*t = tally{}
}
