package signaling

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Bus carries bytes between the nodes of a cluster. Subjects are words joined by
// dots. Handlers may be called from any goroutine, also before Publish returns.
type Bus interface {
	// Publish brings data to every subscriber of subject, on this node too.
	Publish(subject string, data []byte) error
	// Subscribe calls handle for each message until cancel is called. What handle
	// returns answers a Request; nil is no answer.
	Subscribe(subject string, handle func(data []byte) []byte) (cancel func(), err error)
	// Request returns the first answer, or ErrNoAnswer.
	Request(ctx context.Context, subject string, data []byte) ([]byte, error)
}

// ErrNoAnswer says that nobody had an answer to a request.
var ErrNoAnswer = errors.New("bus: no answer")

// LocalBus is the Bus of a node that is alone.
type LocalBus struct {
	mu       sync.Mutex // guards handlers
	handlers map[string][]*handler
}

type handler struct{ fn func([]byte) []byte }

// NewLocalBus returns a bus within this process.
func NewLocalBus() *LocalBus { return &LocalBus{handlers: map[string][]*handler{}} }

// Publish calls the handlers one after the other.
func (b *LocalBus) Publish(subject string, data []byte) error {
	for _, h := range b.of(subject) {
		h.fn(data)
	}
	return nil
}

// Subscribe never fails.
func (b *LocalBus) Subscribe(subject string, handle func([]byte) []byte) (func(), error) {
	h := &handler{handle}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handlers[subject] = append(b.handlers[subject], h)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if left := remove(slices.Clone(b.handlers[subject]), h); len(left) > 0 {
			b.handlers[subject] = left
		} else {
			delete(b.handlers, subject)
		}
	}, nil
}

// Request asks the handlers in turn.
func (b *LocalBus) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	for _, h := range b.of(subject) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if answer := h.fn(data); answer != nil {
			return answer, nil
		}
	}
	return nil, ErrNoAnswer
}

func (b *LocalBus) of(subject string) []*handler {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.handlers[subject])
}
