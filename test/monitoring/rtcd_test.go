package monitoring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rtcd/test/lab"

	"github.com/gorilla/websocket"
)

// program is a child process whose output the test shows if it fails.
type program struct {
	t   *testing.T
	cmd *exec.Cmd
	out bytes.Buffer
}

// start runs a program until the end of the test.
func start(t *testing.T, env []string, name string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.CommandContext(context.WithoutCancel(t.Context()), name, args...)}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = append(os.Environ(), env...), &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Signal(syscall.SIGINT)
		p.cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%.4000s", filepath.Base(name), p.out.String())
		}
	})
	return p
}

// free returns an address of loopback that nobody has, over TCP and UDP.
func free(t *testing.T) string {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		u, err := net.ListenPacket("udp4", l.Addr().String())
		if err != nil {
			continue
		}
		u.Close()
		return l.Addr().String()
	}
	t.Fatal("no port is free for both TCP and UDP")
	return ""
}

// rtcd is a running one.
type rtcd struct {
	t                         *testing.T
	binary, config            string
	https, turn, turns, admin string
	env                       []string
}

func startRTCD(t *testing.T) *rtcd {
	t.Helper()
	dir := t.TempDir()
	r := &rtcd{
		t: t, binary: filepath.Join(dir, "rtcd"), config: filepath.Join(dir, "config.yaml"),
		https: free(t), turn: free(t), turns: free(t), admin: free(t), env: []string{"STATE_DIRECTORY=" + dir},
	}
	if _, err := lab.Build("../..", dir); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`
domain: 127.0.0.1
listen: {https: "", http: %q, turn: %q, turns: %q, admin: %q}
turn: {external_ip: 127.0.0.1, relay_ports: 21000-21999, api_keys: [key-of-a-program-0123456789abcdef-x]}
self_test: 10s
accounting: {interim: 1s}
`, r.https, r.turn, r.turns, r.admin)
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, r.env, r.binary, "serve", "--config", r.config)
	eventually(t, "rtcd is ready", func() error { return get("http://"+r.admin+"/readyz", nil) })
	return r
}

// run runs a command of rtcd that has to succeed and returns what it prints.
func (r *rtcd) run(args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), r.binary, append(args, "--config", r.config)...)
	cmd.Env = append(os.Environ(), r.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("rtcd %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// member joins a room and stays until the end of the test.
func (r *rtcd) member(room string) *websocket.Conn {
	r.t.Helper()
	c, _, err := websocket.DefaultDialer.DialContext(r.t.Context(), "ws://"+r.https+"/ws", http.Header{"Sec-WebSocket-Protocol": {"rtcd.v1"}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	hello := map[string]string{"type": "hello", "room": room, "token": r.run("token", "--room", room)}
	var welcome struct{ Type string }
	if err := c.WriteJSON(hello); err != nil {
		r.t.Fatal(err)
	}
	if err := c.ReadJSON(&welcome); err != nil || welcome.Type != "welcome" {
		r.t.Fatalf("%+v %v", welcome, err)
	}
	// Ends with the socket.
	go func() {
		for {
			if _, _, err := c.ReadMessage(); err != nil {
				return
			}
		}
	}()
	return c
}

// traffic makes something of all that is counted. A flow, and somebody who sends what is
// no TURN, go on until the end of the test.
func (r *rtcd) traffic() {
	r.t.Helper()
	ann := r.member("r")
	r.member("r")
	if err := r.member("r").WriteJSON(map[string]string{"type": "bye"}); err != nil {
		r.t.Fatal(err)
	}
	if err := ann.WriteJSON(map[string]any{"type": "message", "to": "#r", "data": 1}); err != nil {
		r.t.Fatal(err)
	}
	var minted struct {
		ICEServers []struct{ Username, Credential string }
	}
	if err := json.Unmarshal([]byte(r.run("credentials", "--format", "json", "--user", "ann")), &minted); err != nil {
		r.t.Fatal(err)
	}
	pair := minted.ICEServers[len(minted.ICEServers)-1]
	probe := func(url, password string) error {
		cmd := exec.CommandContext(r.t.Context(), r.binary, "probe", url, "--username", pair.Username, "--credential", password, "--packets", "20", "--insecure")
		cmd.Env = append(os.Environ(), r.env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	for _, url := range []string{"turn:" + r.turn, "turn:" + r.turn + "?transport=tcp"} {
		if err := probe(url, pair.Credential); err != nil {
			r.t.Fatal(err)
		}
	}
	if probe("turn:"+r.turn, "not the password") == nil {
		r.t.Fatal("a wrong password works")
	}
	start(r.t, r.env, r.binary, "probe", "turn:"+r.turn, "--username", pair.Username, "--credential", pair.Credential, "--packets", "100000")
	noise, err := net.Dial("udp4", r.turn)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { noise.Close() })
	// Ends with the socket.
	go func() {
		for {
			if _, err := noise.Write([]byte("\xff no TURN")); errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	r.run("reload")
	outcome := strings.NewReader(`{"result":"connected","local":"relay","remote":"host","protocol":"udp"}`)
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+r.https+"/api/v1/ice-outcomes", outcome)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.run("token", "--room", "r"))
	req.Header.Set("Content-Type", "application/json")
	if err := do(req, nil); err != nil {
		r.t.Fatal(err)
	}
}

// get asks with GET; out may be nil.
func get(url string, out any) error {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	return do(req, out)
}

func do(req *http.Request, out any) error {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode >= 300:
		return fmt.Errorf("%s: %s", res.Status, body)
	case out == nil:
		return nil
	}
	return json.Unmarshal(body, out)
}

// eventually waits until f has no error; what it waits for takes as long as it takes.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
