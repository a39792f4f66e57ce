package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/pion/stun/v3"
	"github.com/pion/turn/v4"
)

// SIGTERM in mid-call: the site says that it is not ready, members hear when to come back, nobody new gets a relay and
// STUN is still answered; the call goes on, and with its end the process ends.
func TestDrainInMidCall(t *testing.T) {
	r := newRunning(t, io.Discard, turnKeys(loopback(t), "peers: {allow: [127.0.0.1]}"), lookup)
	r.serve()
	call, late := r.relayTo(r.mint("alice")), r.client(r.mint("late"))
	if err := call.roundTrip(0, patience); err != nil {
		t.Fatal(err)
	}
	if got := r.readiness(); got != "200 ready\n" {
		t.Errorf("before the drain: %s", got)
	}
	member, _ := r.join("lobby")

	r.signals <- syscall.SIGTERM
	r.eventually("not ready", func() bool { return r.readiness() == "503 draining\n" })
	var going struct {
		Type       string
		RetryAfter int
	}
	if err := member.ReadJSON(&going); err != nil || going.Type != "going" || going.RetryAfter <= 0 {
		t.Errorf("the member hears %+v, %v", going, err)
	}
	if _, _, err := member.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("the member's socket: %v", err)
	}
	r.wantRefused(late, stun.CodeInsufficientCapacity)
	if _, err := late.SendBindingRequest(); err != nil {
		t.Errorf("Binding: %v", err)
	}
	for i := range 20 {
		if err := call.roundTrip(i+1, patience); err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
	select {
	case err := <-r.ended:
		t.Fatalf("ended before the call: %v", err)
	default:
	}
	if err := call.conn.Close(); err != nil { // which releases the allocation
		t.Fatal(err)
	}
	r.wantEnded()
}

// Who comes while the server drains is told of another one, if there is one.
func TestDrainNamesTheAlternate(t *testing.T) {
	r := newRunning(t, io.Discard, turnKeys(loopback(t), "")+"drain: {alternate: 203.0.113.9:3478}\n", lookup)
	r.serve()
	call, late := r.relayTo(r.mint("alice")), r.client(r.mint("late"))
	r.signals <- syscall.SIGTERM
	r.wantRefused(late, stun.CodeTryAlternate)
	if err := call.conn.Close(); err != nil {
		t.Fatal(err)
	}
	r.wantEnded()
}

// wantRefused waits until new allocations are refused, which comes after the goodbye to members.
func (r *running) wantRefused(c *turn.Client, code stun.ErrorCode) {
	r.t.Helper()
	r.eventually("a new allocation is refused", func() bool {
		conn, err := c.Allocate()
		if err == nil {
			conn.Close()
			return false
		}
		var refusal *stun.TurnError
		if !errors.As(err, &refusal) || refusal.ErrorCodeAttr.Code != code {
			r.t.Fatalf("a new allocation: %v, want %d", err, code)
		}
		return true
	})
}

// readiness is what the admin endpoint says to whoever balances the load.
func (r *running) readiness() string {
	r.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(fmt.Sprintf("http://%s/readyz", r.admin.listeners[0].Addr()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", res.StatusCode, said)
}
