package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"rtcd/accounting"
	"rtcd/signaling"
)

// TestWhoUsedThePort: a member joins, relays and leaves. Its id leads through the log from
// the hub to the relay and back, and the books tell who had the port, by the command.
func TestWhoUsedThePort(t *testing.T) {
	var log logBook
	r := newRunning(t, &log, turnKeys(loopback(t), "peers: {allow: [127.0.0.1]}")+"accounting: {interim: 1s}\n", lookup)
	r.serve()
	socket, peer := r.join("standup")
	var servers struct {
		ICE []signaling.ICEServer `json:"iceServers"`
	}
	if err := socket.WriteJSON(map[string]string{"type": "ice"}); err != nil {
		t.Fatal(err)
	}
	for len(servers.ICE) == 0 {
		if err := socket.ReadJSON(&servers); err != nil {
			t.Fatal(err)
		}
	}
	flow := r.relayTo(servers.ICE[len(servers.ICE)-1])
	port := strconv.Itoa(flow.conn.LocalAddr().(*net.UDPAddr).Port)
	if err := flow.roundTrip(1, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	books := filepath.Join(os.Getenv("STATE_DIRECTORY"), "accounting", "accounting.jsonl")
	r.eventually("an interim record is written", func() bool {
		data, err := os.ReadFile(books)
		return err == nil && strings.Contains(string(data), `"event":"interim"`)
	})
	use := func(query string) (u usage) {
		t.Helper()
		res, err := http.Get("http://" + r.admin.listeners[0].Addr().String() + "/api/v1/usage?" + query)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(&u); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v", query, res.Status, err)
		}
		return u
	}
	if u := use("user=" + peer); u.Allocations != 1 || u.Live != 1 || u.SentPackets != 1 || u.ReceivedPackets != 1 {
		t.Errorf("while it lives %+v", u)
	}
	r.command(exitDone, "disconnect", "--member", peer)
	r.eventually("the stop is written", func() bool {
		data, err := os.ReadFile(books)
		return err == nil && strings.Contains(string(data), `"event":"stop"`)
	})

	r.eventually("it lives no more", func() bool { return r.turn.Len() == 0 })
	if u := use("user=" + peer); u.Allocations != 1 || u.Live != 0 || u.SentPackets != 1 || u.Duration <= 0 {
		t.Errorf("after its end %+v", u)
	}
	if u := use("user=" + peer + "&since=2100-01-01T00:00:00Z"); u.Allocations != 0 {
		t.Errorf("in the next century %+v", u)
	}
	var found []accounting.Life
	find := func(code int, args ...string) string {
		t.Helper()
		var out, errs strings.Builder
		args = append([]string{"accounting", "--config", r.file}, args...)
		if got := run(args, &out, &errs); got != code {
			t.Fatalf("rtcd %v: exit status %d, want %d: %s", args, got, code, errs.String())
		}
		return out.String() + errs.String()
	}
	text := find(exitDone, "--port", port, "--json")
	if err := json.Unmarshal([]byte(text), &found); err != nil || len(found) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	l := found[0]
	if l.User != peer || l.Member != peer || l.Name != "ann" || len(l.Rooms) != 1 || l.Rooms[0] != "standup" ||
		!l.Stopped || l.Reason != "revoked" || l.SentBytes == 0 || l.ReceivedBytes != l.SentBytes || l.Client.Addr().String() != "127.0.0.1" {
		t.Errorf("found %+v", l)
	}
	middle := l.Started.Add(l.Time.Sub(l.Started) / 2).Format(time.RFC3339Nano)
	if text := find(exitDone, "--port", port, "--at", middle, "--user", "ann"); !strings.Contains(text, ":"+port) || !strings.Contains(text, "standup") {
		t.Errorf("the table:\n%s", text)
	}
	if text := find(exitFailed, "--port", port, "--at", "2020-01-02 15:04"); !strings.Contains(text, "nobody") {
		t.Errorf("nobody had it then: %s", text)
	}
	find(exitUsage, "--at", "yesterday")
	find(exitUsage, "--relay", "here")

	r.end()
	var story []string
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, peer) {
			if _, event, ok := strings.Cut(line, " event="); ok {
				story = append(story, strings.Fields(event)[0])
			}
		}
	}
	want := "session_opened room_joined allocation_made allocation_closed session_ended"
	got := strings.Join(story, " ")
	// Who is put out ends on two sides at once.
	if got != want && got != "session_opened room_joined allocation_made session_ended allocation_closed" {
		t.Errorf("the log of one id tells %q, want %q", got, want)
	}
}

// TestBooksThatCannotBeKept: a file that cannot be opened is told at start and refuses a
// reload, which then changes nothing; off and on again loses nothing.
func TestBooksThatCannotBeKept(t *testing.T) {
	var log logBook
	text := loopback(t)
	r := newRunning(t, &log, text, lookup)
	r.serve()
	defer r.end()
	before := r.ledger.File()
	r.write(text + "accounting: {file: /dev/null/books.jsonl}\n")
	if _, err := r.reload(t.Context()); err == nil || !strings.Contains(err.Error(), "accounting.file") {
		t.Errorf("reload: %v", err)
	}
	if r.ledger.File() != before {
		t.Error("a reload that was refused has changed the file")
	}
	r.mustReload(text+"accounting: {file: ''}\n", "accounting.file")
	if r.ledger.File() != nil {
		t.Error("the books are still open")
	}
	if out := r.command(exitDone, "status"); !strings.Contains(out, "none are kept") {
		t.Errorf("status:\n%s", out)
	}
	other := filepath.Join(t.TempDir(), "other.jsonl")
	r.mustReload(text+"accounting: {file: "+other+", keep: 1d}\n", "accounting.file", "accounting.keep")
	if err := r.allocate(r.mint("bob")); err != nil {
		t.Fatal(err)
	}
	r.eventually("the new file is written", func() bool {
		data, err := os.ReadFile(other)
		return err == nil && strings.Contains(string(data), `"user":"bob"`)
	})
}

// TestSelfTestIsNotInTheBooks: nobody is to be asked for what the server does to itself.
func TestSelfTestIsNotInTheBooks(t *testing.T) {
	r := newRunning(t, io.Discard, hourly(loopback(t)), lookup)
	books := r.ledger.File().Path()
	r.serve()
	r.eventually("it has tested itself", func() bool {
		results, last := r.tester.Results()
		return len(results) > 0 && !last.IsZero()
	})
	if live := r.liveRecords(); len(live) > 0 {
		t.Errorf("interim records %+v", live)
	}
	r.end()
	if data, err := os.ReadFile(books); err != nil || len(data) > 0 {
		t.Errorf("the books have %s %v", data, err)
	}
}
