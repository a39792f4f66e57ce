package turnsrv

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"rtcd/turnsrv/relay"
)

// sampler writes at most one line per message and ten seconds: what strangers can
// cause as often as they like must not fill the disk.
type sampler struct {
	log *slog.Logger

	mu   sync.Mutex // guards seen
	seen map[string]sample
}

type sample struct {
	last       time.Time
	suppressed int
}

const samplePeriod = 10 * time.Second

// warn and debug log msg, a constant; args are as in slog.
func (s *sampler) warn(msg string, args ...any)  { s.tell(slog.LevelWarn, msg, args) }
func (s *sampler) debug(msg string, args ...any) { s.tell(slog.LevelDebug, msg, args) }

func (s *sampler) tell(level slog.Level, msg string, args []any) {
	ctx := context.Background()
	if !s.log.Enabled(ctx, level) {
		return
	}
	s.mu.Lock()
	if s.seen == nil {
		s.seen = map[string]sample{}
	}
	was := s.seen[msg]
	now := time.Now()
	if now.Sub(was.last) < samplePeriod && !was.last.IsZero() {
		was.suppressed++
		s.seen[msg] = was
		s.mu.Unlock()
		return
	}
	s.seen[msg] = sample{last: now}
	s.mu.Unlock()
	if was.suppressed > 0 {
		args = append(args, "suppressed", was.suppressed)
	}
	s.log.Log(ctx, level, msg, args...)
}

// tellRefused writes one line if limits have refused anything since the counts of
// before, by reason, and returns those of now.
func (s *Server) tellRefused(before map[string]uint64) map[string]uint64 {
	now, args := map[string]uint64{}, []any(nil)
	for _, m := range s.Metrics() {
		if m.Name != "connections_refused" && m.Name != "dropped_packets" {
			continue
		}
		why := m.Labels[0].Value
		if m.Name == "dropped_packets" && !isLimit[why] {
			continue
		}
		if now[why] = m.Value; m.Value > before[why] {
			args = append(args, why, m.Value-before[why])
		}
	}
	if len(args) > 0 {
		s.opt.Logger.Info("limits refused strangers", args...)
	}
	return now
}

// isLimit holds the reasons of drops that are limits on strangers.
var isLimit = map[string]bool{
	relay.RateLimited.String(): true, relay.BindingLimited.String(): true, relay.LoginLimited.String(): true,
}
