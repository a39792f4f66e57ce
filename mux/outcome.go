package mux

import "github.com/prometheus/client_golang/prometheus"

// Outcome is what became of a connection to a Port; a label of [Counts].
type Outcome string

// The values of Outcome.
const (
	IsHTTP    Outcome = "http"
	IsTURN    Outcome = "turn"
	IsACME    Outcome = "acme"      // a question of the certificate authority
	IsUnknown Outcome = "unknown"   // its first byte is neither's
	NoTLS     Outcome = "handshake" // failed, or not in time
	Silent    Outcome = "silent"    // no first byte in time
	Gone      Outcome = "gone"      // ended before its first byte
	NoProxy   Outcome = "proxy"     // a trusted proxy's, without a header that could be used
	Panicked  Outcome = "panic"
)

var outcomes = []Outcome{IsHTTP, IsTURN, IsACME, IsUnknown, NoTLS, Silent, Gone, NoProxy, Panicked}

// Counts counts the connections to one or more Ports (prometheus.Collector).
type Counts struct{ *prometheus.CounterVec }

// NewCounts returns the counts of a listener, by the name that it has in the configuration.
func NewCounts(listener string) *Counts {
	c := &Counts{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name:        "rtcd_port_connections_total",
		Help:        "Connections to a port that HTTP and TURN share, by what they were.",
		ConstLabels: prometheus.Labels{"listener": listener},
	}, []string{"outcome"})}
	for _, o := range outcomes {
		c.WithLabelValues(string(o)) // so that it is there from the start
	}
	return c
}

func (c *Counts) add(o Outcome) { c.WithLabelValues(string(o)).Inc() }
