package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"github.com/pion/turn/v4"

	"rtcd/creds"
	"rtcd/signaling"
	"rtcd/turnsrv/relay"
)

// logBook is a log that can be read while it is written.
type logBook struct {
	mu   sync.Mutex // guards the following
	text bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// eventually waits for something to become true.
func (r *running) eventually(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) { // between two looks
		if time.Now().After(deadline) {
			r.t.Fatalf("not yet: %s", what)
		}
	}
}

// write makes text the configuration file.
func (r *running) write(text string) {
	r.t.Helper()
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// mustReload wants a reload to be applied and to have changed the keys.
func (r *running) mustReload(text string, want ...string) {
	r.t.Helper()
	r.write(text)
	changes, err := r.reload(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	var keys []string
	for _, c := range changes {
		keys = append(keys, c.Path)
	}
	if strings.Join(keys, " ") != strings.Join(want, " ") {
		r.t.Errorf("changed %q, want %q", keys, want)
	}
}

// turnKeys adds keys to the section turn of a configuration.
func turnKeys(text, more string) string {
	return strings.Replace(text, "port_rest: 0", "port_rest: 0, "+more, 1)
}

// relayed is a flow through the relay to a peer that sends everything back.
type relayed struct {
	conn net.PacketConn // the relayed socket, at the client
	peer net.Addr
}

// relayTo allocates and begins a flow to an echoing peer on 127.0.0.1.
func (r *running) relayTo(server signaling.ICEServer) *relayed {
	r.t.Helper()
	client := r.client(server)
	conn, err := client.Allocate()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return &relayed{conn, echo(r.t)}
}

// echo is a peer that sends everything back until the test ends.
func echo(t *testing.T) net.Addr {
	peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	// The test owns it; closing the socket ends it.
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := peer.ReadFrom(buf)
			if err != nil {
				return
			}
			peer.WriteTo(buf[:n], from)
		}
	}()
	return peer.LocalAddr()
}

// client is a TURN client over UDP.
func (r *running) client(server signaling.ICEServer) *turn.Client {
	r.t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	address := r.turn.Addrs(relay.UDP)[0].String()
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: address, TURNServerAddr: address, Conn: conn,
		Username: server.Username, Password: server.Credential,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { client.Close(); conn.Close() })
	if err := client.Listen(); err != nil {
		r.t.Fatal(err)
	}
	return client
}

// roundTrip sends a packet to the peer and waits for it to come back.
func (f *relayed) roundTrip(n int, wait time.Duration) error {
	if _, err := f.conn.WriteTo(fmt.Appendf(nil, "packet %d", n), f.peer); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	f.conn.SetReadDeadline(time.Now().Add(wait))
	for {
		got, _, err := f.conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if string(buf[:got]) == fmt.Sprintf("packet %d", n) {
			return nil
		}
	}
}

// mint returns a credential of the running server.
func (r *running) mint(user string) signaling.ICEServer {
	_, servers := r.minter().mint(user, time.Hour)
	return servers.Servers[1]
}

// token opens a room.
func (r *running) token(room string) string {
	r.t.Helper()
	token, err := r.tokens.Sign(creds.Claims{Room: room, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

// dropped counts the packets that were refused because of their peer.
func (r *running) dropped() (n uint64) {
	for _, m := range r.turn.Metrics() {
		if m.Name == "dropped_packets" && m.Labels[0].Value == "peer_denied" {
			n += m.Value
		}
	}
	return n
}

// A hundred reloads, each of which changes much, take nothing from a call: every packet
// of a relayed flow comes back, and a member stays in its room.
func TestReloadsDropNothing(t *testing.T) {
	var log logBook
	secrets := [2]string{newSecret(), newSecret()}
	base := turnKeys(loopback(t), "peers: {allow: [127.0.0.1]}, "+fmt.Sprintf("secrets: [%s, %s]", secrets[0], secrets[1]))
	other := turnKeys(strings.Replace(base, "allow: [127.0.0.1]", "allow: [127.0.0.1, 10.0.0.0/8], deny: [8.8.8.8]", 1),
		"credential_ttl: 30m, limits: {permissions: 9, channels: 8}, api_keys: ["+newSecret()+"]")
	other = strings.Replace(other, secrets[0]+", "+secrets[1], secrets[1]+", "+secrets[0], 1) +
		"signaling: {origins: ['https://app.example'], max_members: 5, strip_host_candidates: true}\ncheck: open\nlog: {level: debug}\ndrain: {timeout: 60s}\n"
	r := newRunning(t, &log, base, lookup)
	r.serve()
	defer r.end()
	member, _ := r.dial("/ws", nil)
	if err := member.WriteJSON(map[string]string{"type": "hello", "token": r.token("lobby"), "room": "lobby"}); err != nil {
		t.Fatal(err)
	}
	flow := r.relayTo(r.mint("alice"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	packets, longest := 0, time.Duration(0)
	lost := make(chan error, 1)
	// The test owns it; cancel ends it.
	go func() {
		defer close(lost)
		for ; ctx.Err() == nil; packets++ {
			start := time.Now()
			if err := flow.roundTrip(packets, patience); err != nil {
				lost <- fmt.Errorf("packet %d: %w", packets, err)
				return
			}
			longest = max(longest, time.Since(start))
		}
	}()
	for i := range 100 {
		text := base
		if i%2 == 0 {
			text = other
		}
		r.write(text)
		if i%10 == 9 { // as an operator does
			seen := strings.Count(log.String(), "configuration reloaded")
			r.signals <- syscall.SIGHUP
			r.eventually("a reload by SIGHUP", func() bool { return strings.Count(log.String(), "configuration reloaded") > seen })
			continue
		}
		if changes, err := r.reload(ctx); err != nil || len(changes) < 10 {
			t.Fatalf("reload %d: %d changes, %v", i, len(changes), err)
		}
	}
	cancel()
	if err := <-lost; err != nil {
		t.Error(err)
	}
	t.Logf("%d packets there and back, the slowest in %v", packets, longest)
	if n := r.turn.Len(); n != 1 {
		t.Errorf("%d allocations, want 1", n)
	}
	if rooms := r.hub.Rooms(); len(rooms) != 1 || len(rooms[0].Members) != 1 {
		t.Errorf("rooms: %+v", rooms)
	}
	for _, s := range secrets {
		if strings.Contains(log.String(), s) {
			t.Error("a secret is in the log")
		}
	}
}

// A peer that the new configuration denies is cut off from the flow that it has.
func TestReloadDeniesAPeer(t *testing.T) {
	text := loopback(t)
	r := newRunning(t, &logBook{}, turnKeys(text, "peers: {allow: [127.0.0.1]}"), lookup)
	r.serve()
	defer r.end()
	flow := r.relayTo(r.mint("alice"))
	if err := flow.roundTrip(0, patience); err != nil {
		t.Fatal(err)
	}
	r.mustReload(turnKeys(text, "peers: {deny: [127.0.0.0/8]}"), "turn.peers.allow", "turn.peers.deny")
	before, dropped := r.turn.Allocations()[0], r.dropped()
	n := 0
	r.eventually("a packet to a denied peer is dropped", func() bool {
		if n++; flow.roundTrip(n, 100*time.Millisecond) == nil {
			t.Fatal("a denied peer answers")
		}
		return r.dropped() > dropped
	})
	if after := r.turn.Allocations()[0]; after.SentPackets != before.SentPackets {
		t.Errorf("%d packets went to a denied peer", after.SentPackets-before.SentPackets)
	}
	r.mustReload(turnKeys(text, "peers: {allow: [127.0.0.1]}"), "turn.peers.allow", "turn.peers.deny")
	if err := flow.roundTrip(1000, patience); err != nil {
		t.Errorf("allowed again: %v", err)
	}
}

// A user that the new configuration lists as revoked is cut off, and stays out for as
// long as it is listed.
func TestReloadRevokesAUser(t *testing.T) {
	text := loopback(t)
	r := newRunning(t, &logBook{}, text, lookup)
	r.serve()
	defer r.end()
	camera := r.mint("frigate")
	for _, server := range []signaling.ICEServer{camera, r.mint("alice")} {
		if err := r.allocate(server); err != nil {
			t.Fatal(err)
		}
	}
	r.mustReload(turnKeys(text, "revoked: [frigate]"), "turn.revoked")
	r.eventually("its allocation ends, and the other's does not", func() bool { return r.turn.Len() == 1 })
	var refusal *stun.TurnError
	if err := r.allocate(camera); !errors.As(err, &refusal) || refusal.ErrorCodeAttr.Code != stun.CodeUnauthorized {
		t.Errorf("a revoked user: %v", err)
	}
	r.mustReload(text, "turn.revoked")
	if err := r.allocate(camera); err != nil {
		t.Errorf("no longer listed: %v", err)
	}
}

// Credentials of a secret live as long as it is listed; the first one signs.
func TestReloadRotatesSecrets(t *testing.T) {
	first, second := newSecret(), newSecret()
	text := loopback(t)
	with := func(list string) string { return turnKeys(text, "secrets: ["+list+"]") }
	var log logBook
	r := newRunning(t, &log, with(first), lookup)
	r.serve()
	defer r.end()
	old := r.mint("alice")
	r.mustReload(with(second+", "+first), "turn.secrets")
	for name, server := range map[string]signaling.ICEServer{"the old secret": old, "the new secret": r.mint("bob")} {
		if err := r.allocate(server); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.mustReload(with(second), "turn.secrets")
	var refusal *stun.TurnError
	if err := r.allocate(old); !errors.As(err, &refusal) || refusal.ErrorCodeAttr.Code != stun.CodeUnauthorized {
		t.Errorf("a secret that is no longer listed: %v", err)
	}
	if err := r.allocate(r.mint("bob")); err != nil {
		t.Error(err)
	}
	if n := r.turn.Len(); n != 3 {
		t.Errorf("%d allocations: a changed secret must not end one", n)
	}
	if s := log.String(); strings.Contains(s, first) || strings.Contains(s, second) {
		t.Error("a secret is in the log")
	}
}

// Nothing of a configuration that cannot be taken is taken.
func TestRefusedReloadChangesNothing(t *testing.T) {
	text := loopback(t)
	var log logBook
	r := newRunning(t, &log, text, lookup)
	r.serve()
	defer r.end()
	before, policy := r.now.Load(), policyOf(r.config, r.externals)
	for more, reason := range map[string]string{
		"limits: {permissions: 3}, relm: x":                                     "unknown key",
		"limits: {permissions: 3}, realm: x":                                    "turn.realm needs a restart",
		"limits: {permissions: 3}, secret_file: /nonexistent/secret":            "no such file",
		"limits: {permissions: 3, connections_per_ip: 1}, coalesce: 100us":      "turn.coalesce, turn.limits.connections_per_ip need a restart",
		"limits: {permissions: 3}, secrets: [short]":                            "want at least 32",
		"limits: {permissions: 3}, api_keys: [0123456789abcdef0123456789abcd,]": "want at least 32",
	} {
		r.write(turnKeys(text, more))
		if _, err := r.reload(t.Context()); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v, want %s", more, err, reason)
		}
		if r.now.Load() != before || policyOf(r.config, r.externals).Limits != policy.Limits {
			t.Fatalf("%s: something has changed", more)
		}
	}
	r.mustReload(turnKeys(text, "limits: {permissions: 3}"), "turn.limits.permissions")
	if n := strings.Count(log.String(), "reload refused"); n != 6 {
		t.Errorf("%d lines of refusals, want one for each", n)
	}
}

// A secret's file is taken up when it changes, but not what else has been written into
// the configuration and not been asked for.
func TestChangedSecretFile(t *testing.T) {
	text, name := loopback(t), t.TempDir()+"/turn.secret"
	write := func(secret string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(newSecret())
	var log logBook
	r := newRunning(t, &log, turnKeys(text, "secret_file: "+name), lookup)
	r.serve()
	defer r.end()
	old := r.mint("alice")
	r.write(turnKeys(text, "credential_ttl: 7m, secret_file: "+name))
	write("short")
	r.eventually("a short secret is refused", func() bool { return strings.Contains(log.String(), "reload refused") })
	if err := r.allocate(old); err != nil {
		t.Errorf("after a refusal: %v", err)
	}
	write(newSecret())
	r.eventually("the new secret signs", func() bool {
		_, ok := r.keys.Verify(old.Username, old.Credential, time.Now())
		return !ok
	})
	if err := r.allocate(r.mint("bob")); err != nil {
		t.Error(err)
	}
	if ttl := r.minter().ttl; ttl != time.Hour {
		t.Errorf("credential_ttl is %v: nobody has asked for a reload", ttl)
	}
}

// A name that cannot be looked up keeps nobody from starting; it is tried again, and
// later followed: new allocations get the new address, members new ICE servers.
func TestNameOfTheRelay(t *testing.T) {
	var mu sync.Mutex // guards the following
	var answer []netip.Addr
	asked := 0
	resolve := func(_ context.Context, name string) ([]netip.Addr, error) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if answer == nil {
			return nil, &net.DNSError{Err: "no such host", Name: name}
		}
		return answer, nil
	}
	become := func(addrs ...string) {
		mu.Lock()
		defer mu.Unlock()
		answer = nil
		for _, a := range addrs {
			answer = append(answer, netip.MustParseAddr(a))
		}
	}
	text := strings.Replace(loopback(t), "external_ip: 127.0.0.1", "external_ip: 'dns:relay.example'", 1)
	text = strings.Replace(text, "domain: 127.0.0.1\n", "", 1)
	var log logBook
	r := newRunning(t, &log, text, resolve)
	r.serve()
	defer r.end()
	if s := r.state(); s != stateNoRelay {
		t.Errorf("state %q", s)
	}
	if !strings.Contains(log.String(), "starting degraded") {
		t.Error("the log does not tell")
	}
	if err := r.allocate(r.mint("alice")); err == nil {
		t.Error("an allocation without an address")
	}
	r.eventually("it is tried again", func() bool { mu.Lock(); defer mu.Unlock(); return asked > 1 })
	become("127.0.0.1")
	r.eventually("the name is found", func() bool { return r.state() == stateReady })
	if err := r.allocate(r.mint("alice")); err != nil {
		t.Error(err)
	}

	member, _ := r.dial("/ws", nil)
	if err := member.WriteJSON(map[string]string{"type": "hello", "token": r.token("lobby"), "room": "lobby"}); err != nil {
		t.Fatal(err)
	}
	heard := func(kind, url string) {
		t.Helper()
		member.SetReadDeadline(time.Now().Add(patience))
		_, data, err := member.ReadMessage()
		var event struct{ Type string }
		if err != nil || json.Unmarshal(data, &event) != nil || event.Type != kind || !strings.Contains(string(data), url) {
			t.Fatalf("%s %v, want %s with %s", data, err, kind, url)
		}
	}
	heard("welcome", "turn:127.0.0.1:")
	become("127.0.0.5")
	r.recheckExternals(t.Context())
	heard("ice", "turn:127.0.0.5:")
	become()
	r.recheckExternals(t.Context())
	if s := r.status(); s.State != stateReady || s.Degraded == "" || len(s.Addresses) != 1 || s.Addresses[0].Public.String() != "127.0.0.5" {
		t.Errorf("while the name cannot be looked up: %+v", s)
	}
	if n := strings.Count(log.String(), "address of relayed traffic has changed"); n != 2 {
		t.Errorf("%d changes in the log, want 2", n)
	}
}

// A reload changes what the public site says and whom it lets in.
func TestReloadChangesTheSite(t *testing.T) {
	text := loopback(t)
	r := newRunning(t, &logBook{}, text, lookup)
	r.serve()
	defer r.end()
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}, DisableKeepAlives: true}}
	status := func(path, origin string) (int, string) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.site("https")+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Origin", origin)
		answer, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode, answer.Header.Get("Access-Control-Allow-Origin")
	}
	const app = "https://app.example"
	if code, allowed := status("/api/v1/ice-servers", app); code != http.StatusUnauthorized || allowed != "" {
		t.Errorf("before: %d %q", code, allowed)
	}
	if _, code := r.dial("/ws", http.Header{"Origin": {app}}); code != http.StatusForbidden {
		t.Errorf("before: the hub says %d", code)
	}
	key := newSecret()
	r.mustReload(turnKeys(text, "api_keys: ["+key+"]")+"check: open\nsignaling: {origins: ['"+app+"']}\n",
		"check", "turn.api_keys", "signaling.origins")
	if code, allowed := status("/api/v1/ice-servers", app); code != http.StatusOK || allowed != app {
		t.Errorf("after: %d %q", code, allowed)
	}
	if code, _ := status("/turn?service=turn&key="+key, app); code != http.StatusOK {
		t.Errorf("the new API key: %d", code)
	}
	if socket, code := r.dial("/ws", http.Header{"Origin": {app}}); code != http.StatusSwitchingProtocols || socket == nil {
		t.Errorf("after: the hub says %d", code)
	}
}
