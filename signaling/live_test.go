package signaling

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestRenewedICE: who is in a room is pushed new credentials within two seconds, who is
// in none gets them when it joins again, and nobody's old ones are revoked.
func TestRenewedICE(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ice := &mint{ttl: time.Hour}
		w := newPipeWorld(t, Options{ICE: ice})
		names := []string{"ann", "bob", "cyd"}
		var frames []chan frame
		for _, name := range names {
			c, _ := w.enter(name, `{"type":"hello","room":"r"}`)
			frames = append(frames, c.listen())
		}
		w.enter("nobody", `{"type":"hello"}`)
		time.Sleep(time.Second) // after the joins
		for i := range frames {
			for len(frames[i]) > 0 {
				<-frames[i]
			}
		}
		start := time.Now()
		w.hub.RenewICE()
		for i, name := range names {
			if f := <-frames[i]; f["type"] != TypeICE || f["ttl"] != 3600.0 || time.Since(start) > renewWithin {
				t.Errorf("%s: %v after %v", name, f, time.Since(start))
			}
		}
		if minted, revoked := ice.counts(); minted != 6 || revoked != 0 {
			t.Errorf("minted %d times, revoked %d", minted, revoked)
		}
	})
}

// TestLiveOrigins: the list in force is that of now.
func TestLiveOrigins(t *testing.T) {
	hub := runHub(t, Options{Origins: []string{"https://a.example"}})
	r := &http.Request{Host: "hub.example", Header: http.Header{"Origin": {"https://b.example"}}}
	if hub.OriginAllowed(r) {
		t.Fatal("an origin that is not on the list")
	}
	hub.SetOrigins([]string{"https://b.example"})
	if !hub.OriginAllowed(r) {
		t.Fatal("an origin that was put on the list")
	}
	hub.SetOrigins([]string{"https://a.example"})
	if hub.OriginAllowed(r) {
		t.Fatal("an origin that was taken off the list")
	}
}

// TestLiveMembers: rooms that are made later hold as many as is said then; crowds stay.
func TestLiveMembers(t *testing.T) {
	hub := runHub(t, Options{Limits: Limits{Members: 2}})
	for _, hello := range []Hello{{}, {Tenant: "crowd", Crowd: true}} {
		in := newTenancy(hub, &hello)
		hub.mu.Lock()
		hub.tenants[hello.Tenant] = in
		hub.mu.Unlock()
		before := in.tenant.rules.Members
		hub.SetMembers(3)
		if got := in.tenant.rules.Members; (got == 3) == hello.Crowd || hello.Crowd && got != before {
			t.Errorf("crowd %t: %d members, before %d", hello.Crowd, got, before)
		}
	}
	if got := hub.limits().Members; got != 3 {
		t.Errorf("the welcome says %d", got)
	}
}
