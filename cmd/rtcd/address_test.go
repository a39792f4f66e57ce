package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/stun/v3"

	"rtcd/address"
	"rtcd/config"
	"rtcd/probe"
	"rtcd/turnsrv/relay"
)

// hears waits for the next event of a member and wants it to be of the kind and to hold
// the text.
func (r *running) hears(member *websocket.Conn, kind, text string) {
	r.t.Helper()
	member.SetReadDeadline(time.Now().Add(patience))
	_, data, err := member.ReadMessage()
	var event struct{ Type string }
	if err != nil || json.Unmarshal(data, &event) != nil || event.Type != kind || !strings.Contains(string(data), text) {
		r.t.Fatalf("%s %v, want %s with %s", data, err, kind, text)
	}
}

// Written URLs are handed out as they are; after a reload members hear of the new ones.
func TestWrittenURLs(t *testing.T) {
	text := loopback(t)
	with := func(urls string) string { return turnKeys(text, "urls: ["+urls+"]") }
	r := newRunning(t, &logBook{}, with("'stun:turn.example:3478', 'turn:turn.example:3478?transport=udp', 'turns:turn.example:443?transport=tcp'"), lookup)
	r.serve()
	defer r.end()
	servers := r.minter().Mint("alice").Servers
	if len(servers) != 2 || strings.Join(servers[0].URLs, " ") != "stun:turn.example:3478" || servers[0].Username != "" ||
		strings.Join(servers[1].URLs, " ") != "turn:turn.example:3478?transport=udp turns:turn.example:443?transport=tcp" || servers[1].Username == "" {
		t.Errorf("%+v", servers)
	}
	member, _ := r.dial("/ws", nil)
	if err := member.WriteJSON(map[string]string{"type": "hello", "token": r.token("lobby"), "room": "lobby"}); err != nil {
		t.Fatal(err)
	}
	r.hears(member, "welcome", "turns:turn.example:443?transport=tcp")
	r.mustReload(with("'turn:other.example:3478'"), "turn.urls")
	r.hears(member, "ice", `[{"urls":["turn:other.example:3478"],"username":`)
	r.mustReload(text, "turn.urls")
	r.hears(member, "ice", `"turn:127.0.0.1:`)
}

// relays are the addresses of the live allocations.
func (r *running) relays() map[netip.Addr]int {
	out := map[netip.Addr]int{}
	for _, a := range r.turn.Allocations() {
		out[a.Relays[0].Addr()]++
	}
	return out
}

// Allocations are spread over the addresses of turn.relay_ips, from the next reload on
// over those that it names.
func TestSeveralRelayAddresses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("all of 127.0.0.0/8 is this machine's on Linux only")
	}
	text := loopback(t)
	with := func(ips string) string {
		return turnKeys(text, "relay_ips: ["+ips+"], limits: {allocations_per_user: 0, failed_logins_per_ip: 0}")
	}
	var log logBook
	r := newRunning(t, &log, with("127.0.0.5, 203.0.113.6/127.0.0.6, 192.0.2.77"), lookup)
	r.serve()
	defer r.end()
	take := func(n int) {
		t.Helper()
		for range n {
			if err := r.allocate(r.mint("alice")); err != nil {
				t.Fatal(err)
			}
		}
	}
	five, six := netip.MustParseAddr("127.0.0.5"), netip.MustParseAddr("203.0.113.6")
	take(20) // all at one of them: once in half a million runs
	if at := r.relays(); at[five] == 0 || at[six] == 0 || at[five]+at[six] != 20 {
		t.Errorf("%v", at)
	}
	if s := r.status(); len(s.Addresses) != 2 || s.Addresses[1].Why != "turn.relay_ips, NATed to 127.0.0.6" || s.Addresses[1].Source != address.Written ||
		len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "192.0.2.77: not an address of this machine") {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(log.String(), "192.0.2.77: not an address of this machine") {
		t.Error("the log does not tell of the absent address")
	}
	before := r.relays()
	r.mustReload(with("127.0.0.7"), "turn.relay_ips")
	take(5)
	seven := netip.MustParseAddr("127.0.0.7")
	if at := r.relays(); at[seven] != 5 || at[five] != before[five] || at[six] != before[six] {
		t.Errorf("after the reload %v, before %v", at, before)
	}
	r.write(with("192.0.2.77"))
	if _, err := r.reload(t.Context()); err == nil || !strings.Contains(err.Error(), "turn.relay_ips: 192.0.2.77") {
		t.Errorf("no relay address at all: %v", err)
	}
	if hosts := hosts(&config.Loaded{}, r.externals); len(hosts) != 1 {
		t.Errorf("URLs for %v, want one host of a family", hosts)
	}
}

// One shared name, such as all of go2rtc has, gets more than everybody, live.
func TestLimitsOfUsers(t *testing.T) {
	text := loopback(t)
	base := "limits: {allocations_per_user: 1"
	r := newRunning(t, &logBook{}, turnKeys(text, base+", users: {frigate: {allocations: 3, bandwidth: 50Mbit}}}"), lookup)
	r.serve()
	defer r.end()
	took := func(user string) (n int) {
		t.Helper()
		for ; ; n++ {
			err := r.allocate(r.mint(user))
			var refusal *stun.TurnError
			if errors.As(err, &refusal) && refusal.ErrorCodeAttr.Code == stun.CodeAllocQuotaReached {
				return n
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := took("alice"); n != 1 {
		t.Errorf("everybody has %d", n)
	}
	if n := took("frigate"); n != 3 {
		t.Errorf("frigate has %d", n)
	}
	r.mustReload(turnKeys(text, base+", users: {frigate: {allocations: 5, allocations_per_ip: 0}}}"), "turn.limits.users")
	if n := took("frigate"); n != 2 {
		t.Errorf("after the reload %d more, want 2", n)
	}
	p := policyOf(r.config, r.externals)
	if u := p.Users["frigate"]; u != (relay.UserLimits{Allocations: 5, AllocationsPerIP: -1}) {
		t.Errorf("%+v", u)
	}
}

// Where URLs name the domain, no command looks for an address.
func TestURLsOfADomainNeedNoAddress(t *testing.T) {
	c := loadText(t, "domain: rtc.example.com\nturn: {external_ip: 'dns:absent.invalid'}")
	if addrs, err := urlAddrs(t.Context(), c); err != nil || len(addrs) != 0 {
		t.Errorf("%v %v", addrs, err)
	}
	c.Domain = ""
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := urlAddrs(ctx, c); err == nil {
		t.Error("without a domain the address is not looked for")
	}
}

// Who is meant to be reached from everywhere is told when nobody outside can.
func TestPrivateAddressOfAPublicName(t *testing.T) {
	for text, want := range map[string]bool{
		"domain: rtc.example.com\nturn: {external_ip: auto}": true, "domain: 203.0.113.5\nturn: {external_ip: auto}": true,
		"domain: rtc.lan\nturn: {external_ip: auto}": false, "turn: {external_ip: auto}": false,
		"domain: rtc.example.com\nturn: {discovery: {enabled: true}}": false, "domain: rtc.example.com\nturn: {external_ip: 203.0.113.5}": false,
	} {
		var log logBook
		c := loadText(t, text)
		a := &app{setup: setup{config: c, log: testLogger(&log)}}
		a.externals = externalsOf(address.Decide(wishOf(c), address.Facts{Machine: address.Machine{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.5")}}}))
		if a.warnOfLocal(); strings.Contains(log.String(), "turn.discovery.enabled") != want {
			t.Errorf("%q: the log says %q", text, log.String())
		}
	}
}

func testLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// A written URL whose port is none of ours is probed where it leads, others here.
func TestWhereTheDoctorProbes(t *testing.T) {
	d := &doctor{config: loadText(t, "listen: {turn: [':3478', '127.0.0.1:3479'], http: ''}")}
	d.externals = []external{{RelayIP: relay.RelayIP{Local: netip.MustParseAddr("10.0.0.5"), Public: netip.MustParseAddr("203.0.113.5")}}}
	for url, want := range map[string]string{
		"turns:front.example:443?transport=tcp": "", "turn:203.0.113.5:3478": "10.0.0.5", "turn:turn.example:3478": "10.0.0.5", "turn:turn.example:3479": "127.0.0.1",
	} {
		target, err := probe.ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.inside(target); got != want {
			t.Errorf("%s is probed at %q, want %q", url, got, want)
		}
	}
}
