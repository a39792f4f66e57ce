package signaling

import (
	"net/http"
	"time"
)

// How many refused requests may wait for their late answers: of one caller, and of all.
// Each costs a connection and a goroutine.
const (
	maxLatePerCaller = 32
	maxLate          = 1024
)

// Penalize is for a request over HTTP whose token or key was worth nothing; a good one does
// not come here. It is counted with the refused hellos of its address, and answered as late
// as one (Limits.FailuresPerIP): Penalize returns when the answer is due, when the client is
// gone, or when the hub goes down. It returns false, and at once, where so many answers wait
// already that this request is to be refused with 429 (RFC 6585 §4).
func (h *Hub) Penalize(r *http.Request) bool {
	key := callerOf(h.o.Address(r))
	late := h.failed(time.Now(), key)
	if late <= 0 || h.isDraining() {
		return true
	}
	if !h.wait(key, 1) {
		h.metrics.rejected.WithLabelValues("guesses").Inc()
		return false
	}
	defer h.wait(key, -1)
	timer := time.NewTimer(late)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	case <-h.going:
	}
	return true
}

// wait counts one more answer that waits, or one less, unless they are too many.
func (h *Hub) wait(key string, n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	who := h.callers.of(key)
	defer h.callers.settle(key)
	if n > 0 && (who.late >= maxLatePerCaller || h.callers.late >= maxLate) {
		return false
	}
	who.late += n
	h.callers.late += n
	return true
}
