package signaling

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// ServeHTTP upgrades a request to the native protocol. It returns at once; the
// socket lives on a goroutine of the hub.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status, reason := h.refuses(r); status != 0 {
		h.metrics.rejected.WithLabelValues(reason).Inc()
		if status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", strconv.Itoa(max(1, int(h.retryAfter()/time.Second))))
		}
		http.Error(w, reason, status)
		return
	}
	up := websocket.Upgrader{
		HandshakeTimeout: 5 * time.Second,
		WriteBufferSize:  1024,
		WriteBufferPool:  &writeBuffers,
		Subprotocols:     []string{Subprotocol},
		CheckOrigin:      func(*http.Request) bool { return true }, // refuses has looked
	}
	hijacker := &wiringHijacker{ResponseWriter: w, timeout: h.o.WriteTimeout}
	conn, err := up.Upgrade(hijacker, r, nil)
	if err != nil {
		h.metrics.rejected.WithLabelValues("handshake").Inc()
		return // Upgrade has answered
	}
	c := &socket{
		hub: h, conn: conn, wire: hijacker.wire, address: h.o.Address(r), token: offeredToken(r),
		controls: controlRate.full(),
	}
	c.caller = callerOf(c.address)
	if !h.addSocket(c) {
		c.Close(CloseGoing, "going")
		conn.Close()
		return
	}
	// Owned by the hub's WaitGroup; ends when the socket does.
	go c.run()
}

// refuses returns the HTTP status for a request that shall not become a socket.
func (h *Hub) refuses(r *http.Request) (status int, reason string) {
	offered := websocket.Subprotocols(r)
	switch {
	case h.isDraining():
		return http.StatusServiceUnavailable, "draining"
	case h.isFull():
		return http.StatusServiceUnavailable, "full"
	case !originAllowed(*h.origins.Load(), r):
		return http.StatusForbidden, "origin"
	case len(offered) > 0 && !slices.Contains(offered, Subprotocol):
		return http.StatusBadRequest, "subprotocol"
	}
	return 0, ""
}

// isFull says whether as many sockets as the hub may have said no hello yet.
func (h *Hub) isFull() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sockets) >= h.o.Limits.Sessions
}

func (h *Hub) retryAfter() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.retry
}

func offeredToken(r *http.Request) string {
	for _, p := range websocket.Subprotocols(r) {
		if token, found := strings.CutPrefix(p, tokenPrefix); found {
			return token
		}
	}
	return ""
}

// addSocket counts the socket's goroutine in, unless the hub is on its way out. Of an
// address with too many that said nothing yet, the oldest has to go.
func (h *Hub) addSocket(c *socket) bool {
	tooMany, ok := h.enter(c)
	if tooMany != nil {
		h.metrics.rejected.WithLabelValues("strangers").Inc()
		tooMany.Close(0, "")
	}
	return ok
}

func (h *Hub) enter(c *socket) (tooMany *socket, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return nil, false
	}
	h.wg.Add(1)
	h.metrics.sockets.Inc()
	return h.strangerLocked(c), true
}

// strangerLocked counts c among those that said no good hello, and returns who has to go.
func (h *Hub) strangerLocked(c *socket) (tooMany *socket) {
	if _, counted := h.sockets[c]; counted {
		return nil
	}
	h.sockets[c] = struct{}{}
	return h.callers.enter(c, h.o.Limits.StrangersPerIP)
}

// waits counts c in again until its hello is answered, unless the hub is on its way out.
func (h *Hub) waits(c *socket) bool {
	h.mu.Lock()
	ok := !h.draining
	var tooMany *socket
	if ok {
		tooMany = h.strangerLocked(c)
	}
	h.mu.Unlock()
	if tooMany != nil {
		tooMany.Close(0, "")
	}
	return ok
}

func (h *Hub) dropSocket(c *socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sockets, c)
	h.callers.known(c)
}
