package dialects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"rtcd/test/browser"
	"rtcd/test/lab"
)

// stage is where pages with the published clients meet rtcd: a lab of one node, in which
// a browser, the server and a server for the pages run.
type stage struct {
	node    *lab.Node
	browser *browser.Browser
	server  string // URL of rtcd
	pages   string // URL of the pages
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// atEnd has an error of the cleaning up fail the test.
func atEnd(t *testing.T, clean func() error) {
	t.Cleanup(func() {
		if err := clean(); err != nil {
			t.Error(err)
		}
	})
}

func newStage(t *testing.T) *stage {
	t.Helper()
	net, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	atEnd(t, net.Close)
	s := &stage{}
	if s.node, err = net.Add("all", 0x30); err != nil {
		t.Fatal(err)
	}
	ca, err := lab.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	install(t)
	s.serve(t)
	s.servePages(t)
	if s.browser, err = browser.Open(patient(t), browser.Chromium, s.node, ca); err != nil {
		t.Fatal(err)
	}
	atEnd(t, s.browser.Close)
	return s
}

// serve runs rtcd, open to everybody, with the scripts that old pages load from it.
func (s *stage) serve(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for to, from := range map[string]string{
		"socket.io/socket.io.js": "node_modules/socket.io-client-2/dist/socket.io.js",
		"easyrtc/easyrtc.js":     "node_modules/open-easyrtc/api/easyrtc.js",
	} {
		script, err := os.ReadFile(from)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), script, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	const at = "127.0.0.1:8080"
	s.server = "http://" + at
	config := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf(`
domain: %[1]s
listen: {https: "", http: %[2]q, turn: ":3478", turns: "", admin: ""}
tls: {mode: off}
turn: {external_ip: %[1]s, limits: {allocations_per_user: 0, allocations_per_ip: 0}} # of socket.io-p2p each page has six ahead, by UDP and TCP
signaling: {auth: none, origins: ["*"], dialects: {scripts: %[3]q}}
`, s.node.IP4, at, dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := s.node.Command(context.WithoutCancel(t.Context()), build(t, "./cmd/rtcd"), "serve", "--config", config)
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+t.TempDir())
	p, err := lab.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	atEnd(t, p.Stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("rtcd wrote:\n%s", p.Output())
		}
	})
	for ctx := patient(t); ; {
		conn, err := s.node.Dial(ctx, "tcp", at)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-p.Ended():
			t.Fatal("rtcd has ended")
		case <-ctx.Done():
			t.Fatalf("rtcd does not listen: %v", err)
		}
	}
}

// ice is the list of ICE servers that rtcd hands to anybody who asks.
func (s *stage) ice(t *testing.T) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return s.node.Dial(ctx, network, addr)
		},
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(s.server + "/api/v1/ice-servers")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ ICEServers json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.ICEServers == nil {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return string(answer.ICEServers)
}

// servePages serves the pages of this folder, and the clients in node_modules.
func (s *stage) servePages(t *testing.T) {
	t.Helper()
	bundle := filepath.Join(t.TempDir(), "p2p.js")
	cmd := exec.Command("node_modules/.bin/browserify", "node_modules/socket.io-p2p/index.js", "--standalone", "P2P", "-o", bundle)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("browserify: %v\n%s", err, out)
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(os.DirFS("node_modules")))
	mux.Handle("/pages/", http.FileServerFS(os.DirFS(".")))
	mux.HandleFunc("/p2p.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, bundle) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	err := s.node.Do(func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.pages = "http://" + l.Addr().String()
		// Ends with the server's Close.
		go func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	atEnd(t, server.Close)
}

// open loads a page with a query beside the server's address.
func (s *stage) open(t *testing.T, page string, query url.Values, preload ...string) *browser.Page {
	t.Helper()
	p, err := s.browser.NewPage(patient(t), preload...)
	if err != nil {
		t.Fatal(err)
	}
	query.Set("server", s.server)
	if err := p.Navigate(patient(t), fmt.Sprintf("%s/pages/%s?%s", s.pages, page, query.Encode())); err != nil {
		t.Fatal(err)
	}
	return p
}

// do runs a function in a page.
func do(t *testing.T, page *browser.Page, out any, function string, args ...any) {
	t.Helper()
	if err := page.Eval(patient(t), out, function, args...); err != nil {
		t.Fatal(err)
	}
}
