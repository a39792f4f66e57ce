package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rtcd/test/browser"
	"rtcd/test/lab"
)

var kinds = []browser.Kind{browser.Chromium, browser.Firefox}

// openBrowser starts a browser in the node until the end of the test.
func openBrowser(t *testing.T, kind browser.Kind, node *lab.Node) *browser.Browser {
	t.Helper()
	b, err := browser.Open(patient(t), kind, node, world.ca)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// openPage loads a page in a new tab, which is closed at the end of the test. If the test failed, the picture is
// kept in $RTCD_TEST_SCREENSHOTS, when that names a directory.
func openPage(t *testing.T, b *browser.Browser, url string, preload ...string) *browser.Page {
	t.Helper()
	ctx := patient(t)
	page, err := b.NewPage(ctx, preload...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			picture(ctx, t, page, "failed-"+string(b.Kind))
		}
		if err := page.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := page.Navigate(ctx, url); err != nil {
		t.Fatal(err)
	}
	return page
}

// picture keeps a screenshot where $RTCD_TEST_SCREENSHOTS says.
func picture(ctx context.Context, t *testing.T, page *browser.Page, name string) {
	t.Helper()
	dir := os.Getenv("RTCD_TEST_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := page.Screenshot(ctx)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		t.Errorf("screenshot: %v", err)
	}
}

// only is a script that leaves a page one way to the relay: of the ICE servers that any code of the page uses, the
// URLs of that transport alone, by the host name that has that family's address alone. The page itself is unchanged.
func only(tr transport, f family) string {
	host := hostIP4
	if f == ip6 {
		host = hostIP6
	}
	pattern := map[transport]string{
		overUDP: `^turn:.*transport=udp`, overTCP: `^turn:.*transport=tcp`, overTLS: `^turns:.*transport=tcp`,
	}[tr]
	return fmt.Sprintf(`() => {
	const pattern = new RegExp(%s), host = %s;
	const narrow = (config) => config && {...config, iceServers: (config.iceServers ?? [])
		.map((s) => ({...s, urls: [s.urls].flat().filter((u) => pattern.test(u)).map((u) => u.replace(%s, host))}))
		.filter((s) => s.urls.length > 0)};
	const Native = window.RTCPeerConnection;
	window.RTCPeerConnection = class extends Native {
		constructor(config) { super(narrow(config)); }
		setConfiguration(config) { super.setConfiguration(narrow(config)); }
	};
}`, quote(pattern), quote(host), quote(hostBoth))
}

// quote is a string as a JavaScript literal.
func quote(s string) string {
	b, _ := json.Marshal(s) // a string always marshals
	return string(b)
}
