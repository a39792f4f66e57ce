package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// command runs rtcd against the app and returns what it prints.
func (r *running) command(code int, args ...string) string {
	r.t.Helper()
	var out, errs bytes.Buffer
	args = append(args, "--admin", r.admin.listeners[0].Addr().String())
	if got := run(args, &out, &errs); got != code {
		r.t.Fatalf("rtcd %v: exit status %d, want %d: %s", args, got, code, errs.String())
	}
	return out.String() + errs.String()
}

// join enters a room and returns the socket and who one is there.
func (r *running) join(room string) (*websocket.Conn, string) {
	r.t.Helper()
	socket, _ := r.dial("/ws", nil)
	if err := socket.WriteJSON(map[string]string{"type": "hello", "token": r.token(room), "room": room, "user": "ann"}); err != nil {
		r.t.Fatal(err)
	}
	var welcome struct{ Type, Peer string }
	if err := socket.ReadJSON(&welcome); err != nil || welcome.Type != "welcome" {
		r.t.Fatalf("%+v %v", welcome, err)
	}
	return socket, welcome.Peer
}

// The commands show what is there, and end it.
func TestAdminCommands(t *testing.T) {
	var log logBook
	r := startApp(t, &log)
	defer r.end()
	alice, bob := r.relayTo(r.mint("alice")), r.mint("bob")
	for _, server := range []func() error{
		func() error { return r.allocate(bob) }, func() error { return r.allocate(bob) },
		func() error { return r.allocate(r.mint("cyd")) },
	} {
		if err := server(); err != nil {
			t.Fatal(err)
		}
	}
	socket, peer := r.join("lobby")

	list := r.command(exitDone, "allocations")
	row := regexp.MustCompile(`(?m)^(\d+) +alice +127\.0\.0\.1:\d+ +udp +` + regexp.QuoteMeta(alice.conn.LocalAddr().String()) + ` +`)
	found := row.FindStringSubmatch(list)
	if found == nil || strings.Count(list, " bob ") != 2 {
		t.Fatalf("allocations:\n%s", list)
	}
	var all []adminAllocation
	if err := json.Unmarshal([]byte(r.command(exitDone, "allocations", "--json")), &all); err != nil || len(all) != 4 {
		t.Errorf("%+v %v", all, err)
	}
	if rooms := r.command(exitDone, "rooms"); !regexp.MustCompile(`(?m)^- +lobby +` + peer + ` +ann +- +here$`).MatchString(rooms) {
		t.Errorf("rooms:\n%s", rooms)
	}
	if s := r.command(exitDone, "status"); !strings.Contains(s, "4 allocations") || !strings.Contains(s, "1 rooms, 1 members") {
		t.Errorf("status:\n%s", s)
	}

	wantLen := func(n int) {
		t.Helper()
		if got := r.turn.Len(); got != n {
			t.Errorf("%d allocations, want %d", got, n)
		}
	}
	r.command(exitDone, "disconnect", "--allocation", found[1])
	wantLen(3)
	r.command(exitFailed, "disconnect", "--allocation", found[1])
	r.command(exitDone, "disconnect", "bob")
	wantLen(1)
	if err := r.allocate(bob); err != nil {
		t.Errorf("without --revoke the credentials stay: %v", err)
	}
	r.command(exitDone, "disconnect", "bob", "--revoke")
	if err := r.allocate(bob); err == nil {
		t.Error("with --revoke the credentials must not stay")
	}
	wantLen(1)
	if said := r.command(exitDone, "disconnect", "--member", peer); !strings.Contains(said, strconv.Itoa(1)+" members") {
		t.Error(said)
	}
	for { // until the socket is closed
		if _, _, err := socket.ReadMessage(); err != nil {
			if !websocket.IsCloseError(err, 4403) {
				t.Errorf("the member's socket: %v", err)
			}
			break
		}
	}
	if rooms := r.hub.Rooms(); len(rooms) != 0 {
		t.Errorf("%+v", rooms)
	}
	if n := strings.Count(log.String(), `msg="disconnected by the administrator"`); n != 4 {
		t.Errorf("%d lines in the log, want 4", n)
	}
}
