package accounting

import "github.com/prometheus/client_golang/prometheus"

// metrics count records; no label is of a user.
type metrics struct {
	records *prometheus.CounterVec // by event
	dropped *prometheus.CounterVec // by where
}

func newMetrics() *metrics {
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rtcd_accounting_records_total", Help: "Accounting records made, by event.",
		}, []string{"event"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rtcd_accounting_dropped_total",
			Help: "Accounting records lost: before they were written anywhere (queue), to the file, or to the webhook.",
		}, []string{"sink"}),
	}
	for _, k := range []Kind{Start, Interim, Stop} {
		m.records.WithLabelValues(string(k))
	}
	for _, sink := range []string{"queue", "file", "webhook"} {
		m.dropped.WithLabelValues(sink)
	}
	return m
}

func (m *metrics) made(k Kind) { m.records.WithLabelValues(string(k)).Inc() }

func (m *metrics) drop(sink string, n int) { m.dropped.WithLabelValues(sink).Add(float64(n)) }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	m.records.Describe(out)
	m.dropped.Describe(out)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	m.records.Collect(out)
	m.dropped.Collect(out)
}
