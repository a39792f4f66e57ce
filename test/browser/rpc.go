package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/gorilla/websocket"
)

// rpc is a client of either protocol: requests carry an id, answers repeat it, everything else is an event
// and is not looked at.
type rpc struct {
	ws   *websocket.Conn
	done chan struct{} // closed when the reader has ended

	mu      sync.Mutex // guards what follows, and writes
	last    int
	waiting map[int]chan answer
	err     error // why the reader ended
}

type request struct {
	ID      int    `json:"id"`
	Method  string `json:"method"`
	Params  any    `json:"params"`
	Session string `json:"sessionId,omitempty"` // DevTools only: the tab
}

// answer is of both shapes: DevTools puts an object into error, BiDi a word, with a message beside it.
type answer struct {
	ID      int             `json:"id"`
	Result  json.RawMessage `json:"result"`
	Error   json.RawMessage `json:"error"`
	Message string          `json:"message"`
}

func dialRPC(ctx context.Context, url string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (*rpc, error) {
	dialer := websocket.Dialer{NetDialContext: dial}
	ws, _, err := dialer.DialContext(ctx, url, nil)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", url, err)
	}
	r := &rpc{ws: ws, done: make(chan struct{}), waiting: map[int]chan answer{}}
	// Owned by the rpc; ends when the socket does.
	go r.read()
	return r, nil
}

func (r *rpc) read() {
	defer close(r.done)
	for {
		var a answer
		err := r.ws.ReadJSON(&a)
		r.mu.Lock()
		if err != nil {
			r.err = err
			r.mu.Unlock()
			return
		}
		if to := r.waiting[a.ID]; to != nil {
			to <- a
			delete(r.waiting, a.ID)
		}
		r.mu.Unlock()
	}
}

// call sends one request and decodes its result into out, which may be nil.
func (r *rpc) call(ctx context.Context, session, method string, params, out any) error {
	to := make(chan answer, 1)
	r.mu.Lock()
	r.last++
	id := r.last
	r.waiting[id] = to
	err := r.ws.WriteJSON(request{ID: id, Method: method, Params: params, Session: session})
	r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case a := <-to:
		return a.decode(method, out)
	case <-r.done:
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Errorf("%s: browser is gone: %w", method, r.err)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

func (a answer) decode(method string, out any) error {
	if len(a.Error) > 0 {
		return fmt.Errorf("%s: %s %s", method, a.Error, a.Message)
	}
	if out == nil {
		return nil
	}
	if len(a.Result) == 0 {
		return errors.New(method + ": neither result nor error")
	}
	return json.Unmarshal(a.Result, out)
}

func (r *rpc) close() {
	_ = r.ws.Close() // the browser is killed right after
	<-r.done
}
