package turnsrv

import (
	"context"
	"log/slog"
	"sync"
	"time"
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

// warn logs msg, a constant; args are as in slog.
func (s *sampler) warn(msg string, args ...any) {
	if !s.log.Enabled(context.Background(), slog.LevelWarn) {
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
	s.log.Warn(msg, args...)
}
