package udp

import "time"

// pacer tells a worker after which rounds to pause, so that the datagrams of the
// pause share one round. That pays under moderate load: when fewer come a pause
// would only delay them, and when more come the rounds are full without it, while
// the sockets' buffers might not hold what a pause lets in.
type pacer struct {
	pause time.Duration // 0 = never

	since    time.Time // when counting began
	count    int       // datagrams read since then, joined ones as one
	moderate bool      // what the last count said
}

const (
	pacerWindow = 2 * time.Millisecond // the least time to count over
	fewInPause  = 3                    // datagrams to expect in a pause; fewer are not worth it
	manyInRound = 32                   // from so many in one round on, none follows
)

// rests reports whether to pause after a round that read n datagrams and found its
// sockets empty then.
func (p *pacer) rests(n int) bool {
	if p.pause == 0 {
		return false
	}
	p.count += n
	if now := time.Now(); now.Sub(p.since) >= pacerWindow {
		expected := float64(p.count) * float64(p.pause) / float64(now.Sub(p.since))
		p.moderate = expected >= fewInPause
		p.since, p.count = now, 0
	}
	return p.moderate && n < manyInRound
}
