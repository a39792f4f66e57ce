package address

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/stun/v3"
	"github.com/pion/turn/v4"

	"rtcd/test/lab"
)

// world is what all tests share.
var world struct {
	net          *lab.Net
	client, peer *lab.Node
	stun         [2]*lab.Node
	program      string // the built rtcd
	homes        byte
}

func TestMain(m *testing.M) {
	lab.Main(func(dir string) (int, error) { return runAll(m, dir) })
}

func runAll(m *testing.M, dir string) (code int, err error) {
	if world.program, err = lab.Build("../..", dir); err != nil {
		return 1, err
	}
	if world.net, err = lab.New(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.net.Close()) }()
	for i, node := range []**lab.Node{&world.stun[0], &world.stun[1], &world.client, &world.peer} {
		if *node, err = world.net.Add(fmt.Sprintf("n%d", i), byte(21+i)); err != nil {
			return 1, err
		}
	}
	for _, node := range world.stun {
		conn, err := node.ListenPacket(context.Background(), node.IP4.String()+":3478")
		if err != nil {
			return 1, err
		}
		defer func() { _ = conn.Close() }()
		go serveSTUN(conn) // runAll owns it; closing the socket ends it
	}
	return m.Run(), nil
}

// serveSTUN tells everybody where they come from.
func serveSTUN(conn net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		req := &stun.Message{Raw: bytes.Clone(buf[:n])}
		if req.Decode() != nil || req.Type != stun.BindingRequest {
			continue
		}
		at := from.(*net.UDPAddr)
		answer := stun.MustBuild(req, stun.BindingSuccess, &stun.XORMappedAddress{IP: at.IP, Port: at.Port}, stun.Fingerprint)
		_, _ = conn.WriteTo(answer.Raw, from) // it will ask again
	}
}

// server is an rtcd in a home, whose configuration is the common one and more keys of the section turn.
type server struct {
	*testing.T
	home    *lab.NAT
	process *lab.Process
	env     []string
	config  string
}

// ports are those that a relay in a home needs: the listeners' and ten relay ports.
var ports = []string{"udp dport 3478", "tcp dport { 3478, 8080 }", "udp dport 49152-49161"}

func home(t *testing.T, kinds ...lab.NATKind) *lab.NAT {
	t.Helper()
	world.homes++
	h, err := world.net.AddNAT(fmt.Sprintf("h%d", world.homes), 100+world.homes, kinds...)
	must(t, err)
	t.Cleanup(func() { must(t, h.Close()) })
	return h
}

func serve(t *testing.T, h *lab.NAT, keys string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{T: t, home: h, config: filepath.Join(dir, "config.yaml"), env: append(os.Environ(), "STATE_DIRECTORY="+dir)}
	s.configure(keys)
	cmd := h.Client.Command(context.WithoutCancel(t.Context()), world.program, "serve", "--config", s.config)
	cmd.Env = s.env
	var err error
	s.process, err = lab.Start(cmd)
	must(t, err)
	t.Cleanup(func() {
		must(t, s.process.Stop())
		if out := s.process.Output(); t.Failed() || strings.Contains(out, "panic") || strings.Contains(out, "DATA RACE") {
			t.Errorf("rtcd wrote:\n%s", out)
		}
	})
	s.await("msg=serving")
	return s
}

// configure writes the configuration.
func (s *server) configure(keys string) {
	s.Helper()
	text := fmt.Sprintf("listen: {http: ':8080', turn: ':3478', admin: '"+lab.AdminAddress+"'}\n"+
		"turn: {relay_ports: 49152-49161, port_rest: 0, %s}\nlog: {format: text}\n", keys)
	must(s.T, os.WriteFile(s.config, []byte(text), 0o600))
}

// await waits until the server has logged the pattern.
func (s *server) await(pattern string) []string {
	s.Helper()
	m, err := s.process.Await(patient(s.T), pattern)
	must(s.T, err)
	return m
}

// run runs another command of the program with the same configuration.
func (s *server) run(args ...string) string {
	s.Helper()
	cmd := s.home.Client.Command(patient(s.T), world.program, append(args, "--config", s.config)...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if err != nil && args[0] != "check" { // which fails where it warns of something grave
		s.Fatalf("rtcd %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// wantSaid wants `rtcd status` to hold the text, at last.
func (s *server) wantSaid(text string) {
	s.Helper()
	for ctx := patient(s.T); !strings.Contains(s.run("status"), text); {
		select {
		case <-ctx.Done():
			s.Fatalf("rtcd status never says %q:\n%s", text, s.run("status"))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// wantMetric wants a line of the metrics.
func (s *server) wantMetric(line string) {
	s.Helper()
	admin := s.home.Client.Admin()
	defer admin.Close()
	body, err := admin.Metrics(patient(s.T))
	must(s.T, err)
	if !strings.Contains(body, "\n"+line+"\n") {
		s.Errorf("metrics without %q", line)
	}
}

// credentials are those that the server hands out.
func (s *server) credentials() (user, password string, urls string) {
	s.Helper()
	var minted struct {
		ICEServers []struct {
			URLs                 []string
			Username, Credential string
		}
	}
	text := s.run("credentials")
	if err := json.Unmarshal([]byte(text), &minted); err != nil || len(minted.ICEServers) < 2 {
		s.Fatalf("%v: %s", err, text)
	}
	turn := minted.ICEServers[1]
	return turn.Username, turn.Credential, strings.Join(turn.URLs, " ")
}

// relays allocates from outside at the public address, and sends a packet through the relay to a peer and back. It
// returns the relayed address.
func (s *server) relays(at netip.Addr) netip.AddrPort {
	s.Helper()
	ctx := patient(s.T)
	conn, err := world.client.ListenPacket(ctx, world.client.IP4.String()+":0")
	must(s.T, err)
	defer func() { _ = conn.Close() }()
	user, password, _ := s.credentials()
	address := netip.AddrPortFrom(at, 3478).String()
	c, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: address, TURNServerAddr: address, Conn: conn, Username: user, Password: password})
	must(s.T, err)
	defer c.Close()
	must(s.T, c.Listen())
	relayed, err := c.Allocate()
	must(s.T, err)
	defer func() { _ = relayed.Close() }()
	peer, err := world.peer.ListenPacket(ctx, world.peer.IP4.String()+":0")
	must(s.T, err)
	defer func() { _ = peer.Close() }()
	from := echo(s.T, relayed, peer)
	if from != relayed.LocalAddr().(*net.UDPAddr).AddrPort() {
		s.Errorf("the client is told %v, the peer sees %v", relayed.LocalAddr(), from)
	}
	return from
}

// echo sends a word from one to the other and back to where it seems to come from, which it returns.
func echo(t *testing.T, here, there net.PacketConn) netip.AddrPort {
	t.Helper()
	const word = "through the relay"
	_, err := here.WriteTo([]byte(word), there.LocalAddr())
	must(t, err)
	buf := make([]byte, 100)
	must(t, there.SetReadDeadline(time.Now().Add(time.Minute)))
	n, from, err := there.ReadFrom(buf)
	must(t, err)
	_, err = there.WriteTo(buf[:n], from)
	must(t, err)
	must(t, here.SetReadDeadline(time.Now().Add(time.Minute)))
	if n, _, err = here.ReadFrom(buf); err != nil || string(buf[:n]) != word {
		t.Fatalf("%q came back: %v", buf[:n], err)
	}
	return from.(*net.UDPAddr).AddrPort()
}

// member joins a room from the server's own network, so that a change of the public address leaves the socket alone.
func (s *server) member() *websocket.Conn {
	s.Helper()
	token := strings.TrimSpace(s.run("token", "--room", "lobby"))
	dialer := websocket.Dialer{
		Subprotocols:   []string{"rtcd.v1"},
		NetDialContext: s.home.Client.Dial,
	}
	conn, answer, err := dialer.DialContext(patient(s.T), "ws://"+s.home.Client.IP4.String()+":8080/ws", nil)
	must(s.T, err)
	must(s.T, answer.Body.Close())
	s.Cleanup(func() { _ = conn.Close() })
	must(s.T, conn.WriteJSON(map[string]string{"type": "hello", "token": token, "room": "lobby"}))
	return conn
}

// hears waits for an event of the kind that holds the text.
func (s *server) hears(member *websocket.Conn, kind, text string) {
	s.Helper()
	for {
		must(s.T, member.SetReadDeadline(time.Now().Add(2*time.Minute)))
		_, data, err := member.ReadMessage()
		must(s.T, err)
		var event struct{ Type string }
		must(s.T, json.Unmarshal(data, &event))
		if event.Type == kind && strings.Contains(string(data), text) {
			return
		}
		s.Logf("the hub says %s", data)
	}
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
