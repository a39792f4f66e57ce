package signaling

import (
	"bytes"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// series are the samples of one family by their labels; of a histogram the counts.
func series(t *testing.T, r *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			n := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if n != 0 {
				out[strings.Join(labels, " ")] = n
			}
		}
	}
	return out
}

// TestMessagesAreCounted: in both directions by type, as they happen; a write with an event
// that a message made is in the histogram of delivery once, what the hub says by itself not.
func TestMessagesAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWorld(t, Options{Metrics: registry})
	ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
	w.enter("bob", `{"type":"hello","room":"r"}`)
	ann.want(`{"event":"join"}`)
	cat, _ := w.enter("cat", `{"type":"hello","room":"other"}`)
	if n := metric(t, registry, "rtcd_signaling_rooms"); n != 2 {
		t.Errorf("%v rooms", n)
	}
	if n := metric(t, registry, "rtcd_signaling_connections"); n != 3 {
		t.Errorf("%v connections", n)
	}
	ann.say(`{"type":"message","to":"#r","data":1}`)
	cat.say(`{"type":"bye"}`)
	cat.wantClosed(CloseNormal)
	ann.say(`{"type":"ping"}`)
	for ann.hear().str("type") != TypePong {
	}
	want := map[string]float64{
		"received hello": 3, "received message": 1, "received bye": 1, "received ping": 1,
		"sent welcome": 3, "sent peer": 1, "sent message": 1, "sent pong": 1,
	}
	// The last one is heard a moment before it is counted.
	var got map[string]float64
	for end := time.Now().Add(time.Minute); !maps.Equal(got, want); time.Sleep(time.Millisecond) {
		if got = series(t, registry, "rtcd_signaling_messages_total"); time.Now().After(end) {
			t.Fatalf("counted %v, want %v", got, want)
		}
	}
	if n := series(t, registry, "rtcd_signaling_delivery_seconds")[""]; n != 2 { // join and message
		t.Errorf("%v deliveries", n)
	}
	if n := metric(t, registry, "rtcd_signaling_rooms"); n != 1 {
		t.Errorf("%v rooms after the last one has left one", n)
	}
}

// TestStrangersDoNotFillTheLog: who has a token is told of in the log of a server in use, who
// has none only to somebody who looks closely.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	w := newWorld(t, Options{
		Open: true, Auth: tokens{"ann": {Name: "ann", Expires: never}},
		Log: slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil)),
	})
	stranger, _ := w.enter("stranger", `{"type":"hello","room":"r"}`)
	stranger.say(`{"type":"join","room":"other"}`)
	stranger.want(`{"type":"joined"}`)
	stranger.say(`{"type":"bye"}`)
	stranger.wantClosed(CloseNormal)
	ann, welcome := w.enter("ann", `{"type":"hello","token":"ann","room":"r"}`)
	ann.say(`{"type":"join","room":"other"}`)
	ann.want(`{"type":"joined"}`)
	ann.say(`{"type":"leave","room":"other"}`)
	ann.say(`{"type":"bye"}`)
	ann.wantClosed(CloseNormal)
	var got []string
	for end := time.Now().Add(time.Minute); len(got) < 5 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		mu.Lock()
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		mu.Unlock()
		got = nil
		for _, line := range lines {
			if _, event, ok := strings.Cut(line, " event="); ok {
				got = append(got, strings.Fields(event)[0])
				if !strings.Contains(line, "member="+welcome.str("peer")) {
					t.Errorf("not of ann: %s", line)
				}
			}
		}
	}
	if want := "session_opened room_joined room_joined room_left session_ended"; strings.Join(got, " ") != want {
		t.Errorf("logged %v, want %s", got, want)
	}
}
