package probe

import "time"

// Report is what a probe saw.
type Report struct {
	URL        string      `json:"url"`
	Transport  string      `json:"transport"`
	OK         bool        `json:"ok"`
	Server     string      `json:"server,omitempty"` // address that was connected to
	Mapped     string      `json:"mapped,omitempty"` // our address as the server sees it
	Relay      string      `json:"relay,omitempty"`  // address that the server relays for us
	Steps      []Step      `json:"steps"`
	Echo       *Echo       `json:"echo,omitempty"`
	Throughput *Throughput `json:"throughput,omitempty"`
	Problem    *Problem    `json:"problem,omitempty"` // why not OK
	Notes      []string    `json:"notes,omitempty"`   // what works, but looks wrong
}

// Step is one thing that was tried, in order: connect, binding, allocate,
// permission, echo, throughput, inbound.
type Step struct {
	Name   string  `json:"name"`
	OK     bool    `json:"ok"`
	Millis float64 `json:"ms"`
	Detail string  `json:"detail,omitempty"`
}

// Echo is what came back of packets sent from one relayed address to another and
// returned by it: four times through the relay.
type Echo struct {
	Sent      int     `json:"sent"`
	Received  int     `json:"received"`
	Loss      float64 `json:"loss"` // 0 to 1
	MinMs     float64 `json:"rtt_min_ms"`
	MedianMs  float64 `json:"rtt_median_ms"`
	P95Ms     float64 `json:"rtt_p95_ms"`
	Bytes     int     `json:"packet_bytes"`
	OutOfTurn int     `json:"reordered"`
}

// Throughput is what came from one relayed address to another, of what was sent as fast as
// that went: twice through the relay.
type Throughput struct {
	Mbps     float64 `json:"mbit_per_s"`
	Sent     int     `json:"sent"` // packets
	Received int     `json:"received"`
	Loss     float64 `json:"loss"` // 0 to 1
	Bytes    int     `json:"packet_bytes"`
}

// Problem is why a step failed and what can be done about it.
type Problem struct {
	Step   string `json:"step"`
	Code   int    `json:"code,omitempty"` // STUN error code, 0 if the server gave none
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
