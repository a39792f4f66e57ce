package selftest

import "github.com/prometheus/client_golang/prometheus"

var (
	descUp = prometheus.NewDesc("rtcd_selftest_up",
		"1 if the last self-test of an advertised URL went well, 0 if not; absent until there is a result that counts.", []string{"url"}, nil)
	descTook = prometheus.NewDesc("rtcd_selftest_duration_seconds",
		"How long the last self-test of an advertised URL took.", []string{"url"}, nil)
	descLast = prometheus.NewDesc("rtcd_selftest_last_timestamp_seconds",
		"When the last round of self-tests ended, in Unix seconds; 0 if none has.", nil, nil)
)

// Describe implements prometheus.Collector.
func (t *Tester) Describe(out chan<- *prometheus.Desc) {
	out <- descUp
	out <- descTook
	out <- descLast
}

// Collect implements prometheus.Collector. The label is one of the few URLs that the
// configuration advertises.
func (t *Tester) Collect(out chan<- prometheus.Metric) {
	results, last := t.Results()
	for _, r := range results {
		if !r.Judged() {
			continue
		}
		up := 0.0
		if r.Up {
			up = 1
		}
		out <- prometheus.MustNewConstMetric(descUp, prometheus.GaugeValue, up, r.URL)
		out <- prometheus.MustNewConstMetric(descTook, prometheus.GaugeValue, r.Took.Seconds(), r.URL)
	}
	at := 0.0
	if !last.IsZero() {
		at = float64(last.Unix())
	}
	out <- prometheus.MustNewConstMetric(descLast, prometheus.GaugeValue, at)
}
