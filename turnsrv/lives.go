package turnsrv

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/turnsrv/relay"
)

// closedLabels tell apart how allocations end. Kill takes any words
// as its reason: those that are not here count as killed.
var closedLabels = [...]string{"released", "expired", "disconnected", "revoked", "shutdown", closedByKill}

const closedByKill = "killed"

// lives counts the ends of allocations.
type lives struct {
	closed    [len(closedLabels)]atomic.Uint64
	durations prometheus.Histogram
}

func newLives() lives {
	return lives{durations: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "rtcd_turn_allocation_duration_seconds",
		Help:    "How long allocations lived that have ended.",
		Buckets: []float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600},
	})}
}

// ended counts the last event of an allocation.
func (l *lives) ended(now relay.Now, e *relay.Event) {
	l.durations.Observe((now.Mono - e.Info.Created).Seconds())
	at := len(closedLabels) - 1
	for i, label := range closedLabels {
		if label == e.Reason {
			at = i
		}
	}
	l.closed[at].Add(1)
}

// each calls f for every count.
func (l *lives) each(f func(relay.Metric)) {
	for i, label := range closedLabels {
		f(relay.Metric{
			Name: "allocations_closed", Labels: []relay.Label{{Name: "reason", Value: label}}, Value: l.closed[i].Load(),
		})
	}
}
