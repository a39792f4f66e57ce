package dialects

import (
	"context"
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

// serve runs the hub with its dialects.
func (s *stage) serve(t *testing.T) {
	t.Helper()
	cmd := s.node.Command(context.WithoutCancel(t.Context()), build(t, "./signaling/dialect/dialecttest"))
	stdin, err := cmd.StdinPipe() // it ends with this
	if err != nil {
		t.Fatal(err)
	}
	p, err := lab.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	atEnd(t, func() error { return errors.Join(stdin.Close(), p.Stop()) })
	m, err := p.Await(patient(t), `(http://\S+)`)
	if err != nil {
		t.Fatal(err)
	}
	s.server = m[1]
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
