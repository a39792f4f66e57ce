package browser_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"image/png"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rtcd/test/browser"
	"rtcd/test/lab"
)

// site serves one page over HTTPS, with a certificate of the lab's authority, in a node of its own.
func site(t *testing.T, n *lab.Net, ca *lab.CA) {
	t.Helper()
	node, err := n.Add("site", 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Name("site.test", node.IP4, node.IP6); err != nil {
		t.Fatal(err)
	}
	certFile, keyFile, err := ca.Issue([]string{"site.test"})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	err = node.Do(func() error {
		listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", netip.AddrPortFrom(node.IP4, 443).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // browsers open and drop connections ahead of need
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<!doctype html><title>site</title><p>It works.")
		}),
	}
	done := make(chan error, 1)
	// Ends with the server.
	go func() { done <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close(); <-done })
}

func TestBothBrowsersLoadATrustedPage(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	ca, err := lab.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	site(t, n, ca)
	alice, err := n.Add("alice", 20)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []browser.Kind{browser.Chromium, browser.Firefox} {
		t.Run(string(kind), func(t *testing.T) {
			b, err := browser.Open(ctx, kind, alice, ca)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			}()
			look(ctx, t, b)
		})
	}
}

func look(ctx context.Context, t *testing.T, b *browser.Browser) {
	t.Helper()
	page, err := b.NewPage(ctx, `() => { window.early = document.readyState; }`)
	if err != nil {
		t.Fatal(err)
	}
	if err := page.Navigate(ctx, "https://site.test/"); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Title, Early, Arg string
		Secure            bool
		Width             int
	}
	err = page.Eval(ctx, &got, `async (arg) => {
		const camera = await navigator.mediaDevices.getUserMedia({video: true});
		const width = camera.getVideoTracks()[0].getSettings().width;
		return {title: document.title, early: window.early, arg, secure: isSecureContext, width};
	}`, "é\"")
	if err != nil {
		t.Fatal(err)
	}
	if got.Title != "site" || got.Early != "loading" || got.Arg != "é\"" || !got.Secure || got.Width < 100 {
		t.Errorf("page says %+v", got)
	}
	if err := page.Eval(ctx, nil, `() => { throw new Error("no") }`); err == nil {
		t.Error("an exception in the page is not an error")
	}
	operate(ctx, t, page)
	shot, err := page.Screenshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(shot)); err != nil {
		t.Errorf("screenshot: %v", err)
	}
	if err := page.Close(ctx); err != nil {
		t.Error(err)
	}
}

// operate uses the page as somebody with a keyboard and a narrow window.
func operate(ctx context.Context, t *testing.T, page *browser.Page) {
	t.Helper()
	if err := page.Resize(ctx, 360, 700); err != nil {
		t.Fatal(err)
	}
	err := page.Eval(ctx, nil, `() => {
		window.pressed = [];
		addEventListener("keydown", (e) => pressed.push(e.key));
		document.body.append(document.createElement("input"));
		document.body.append(Object.assign(document.createElement("button"), {onclick: () => pressed.push("click")}));
	}`)
	if err != nil {
		t.Fatal(err)
	}
	if err := page.Press(ctx, "Tab", "x", "Tab", "Enter"); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Pressed []string
		Typed   string
		Width   int
	}
	err = page.Eval(ctx, &got, `() => ({pressed, typed: document.querySelector("input").value, width: innerWidth})`)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(got.Pressed, " ") != "Tab x Tab Enter click" || got.Typed != "x" || got.Width != 360 {
		t.Errorf("pressed Tab x Tab Enter at a width of 360: %+v", got)
	}
}
