package main

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// newRegistry holds what the process tells about itself; the halves add theirs.
func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "rtcd_build_info", Help: "Always 1; the labels tell what runs.",
		ConstLabels: prometheus.Labels{
			"version": versionString(), "revision": revision(), "goversion": runtime.Version(),
		},
	})
	build.Set(1)
	r.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// revision is the commit that was built, "unknown" where the build did not note it.
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

// shape is how somebody came by TURN credentials: the label of their metric.
type shape string

const (
	shapeHub   shape = "hub"         // a member of a room
	shapeICE   shape = "ice_servers" // GET /api/v1/ice-servers
	shapeCheck shape = "check"       // that, by nobody in particular: 60 s, relay to relay
	shapeREST  shape = "rest"        // /turn
)

// newIssued counts credentials as they are made.
func newIssued() *prometheus.CounterVec {
	issued := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rtcd_credentials_issued_total", Help: "TURN credentials made, by the way in which they were asked for.",
	}, []string{"shape"})
	for _, s := range []shape{shapeHub, shapeICE, shapeCheck, shapeREST} {
		issued.WithLabelValues(string(s))
	}
	return issued
}

// issue counts a credential.
func (m *minter) issue(s shape) {
	if m.issued != nil {
		m.issued.WithLabelValues(string(s)).Inc()
	}
}

// nodeState tells Prometheus what /readyz does, in two words.
type nodeState struct{ *app }

var nodeStateDesc = prometheus.NewDesc("rtcd_node_state",
	"1 for the state that the process is in: ready, draining, or degraded, when /readyz says why.", []string{"state"}, nil)

// Describe implements prometheus.Collector.
func (n nodeState) Describe(out chan<- *prometheus.Desc) { out <- nodeStateDesc }

// Collect implements prometheus.Collector.
func (n nodeState) Collect(out chan<- prometheus.Metric) {
	now := "degraded"
	if s := n.state(); s == stateReady || s == stateDraining {
		now = s
	}
	for _, state := range []string{stateReady, stateDraining, "degraded"} {
		value := 0.0
		if state == now {
			value = 1
		}
		out <- prometheus.MustNewConstMetric(nodeStateDesc, prometheus.GaugeValue, value, state)
	}
}
