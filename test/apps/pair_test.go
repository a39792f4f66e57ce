package apps

import (
	"net/url"
	"strings"
	"testing"

	"rtcd/test/browser"
)

// Two devices meet by the QR code that one of them shows, and share a text and a file, whichever way they have.
func TestPair(t *testing.T) {
	t.Parallel()
	inBrowsers(t, func(t *testing.T, b *browser.Browser) {
		for _, w := range append(relays(), direct, server) {
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				pair(t, b, w)
			})
		}
	})
}

func pair(t *testing.T, b *browser.Browser, w way) {
	query := strings.TrimPrefix(w.query, "&")
	computer := open(t, b, visit{app: "pair", query: query})
	computer.wantSoon("the code", `() => rtcdPair.state === "open" && document.querySelector("#code path") !== null`)
	link := scan(t, computer)
	other, err := url.Parse(link)
	if err != nil || other.Path != "/apps/pair" {
		t.Fatalf("the QR code reads %q (%v)", link, err)
	}
	other.RawQuery = query
	phone := open(t, b, visit{link: other.String()})
	stranger := open(t, b, visit{app: "pair", query: query}) // the same room, another code
	for _, p := range []*page{computer, phone} {
		p.wantLinks(1, w)
		p.wantSoon("that they are paired", `() => document.documentElement.dataset.paired === "1"`)
	}

	computer.eval(nil, `() => rtcdPair.write("from the computer ☎")`)
	phone.wantSoon("the text", `() => rtcdPair.text === "from the computer ☎"`)
	phone.eval(nil, `() => rtcdPair.write(rtcdPair.text + ", and back")`)
	computer.wantSoon("the answer", `() => rtcdPair.text === "from the computer ☎, and back"`)

	computer.eval(nil, `() => {
		window.sent = crypto.getRandomValues(new Uint8Array(60000));
		return rtcdPair.send(new Blob([sent]), "sixty.bin");
	}`)
	phone.wantSoon("the file", `() => rtcdPair.transfers[0]?.state === "done"`)
	var sent, got []int
	computer.eval(&sent, `() => [...sent]`)
	phone.eval(&got, `async () => [...new Uint8Array(await rtcdPair.transfers[0].blob.arrayBuffer())]`)
	if len(got) != len(sent) || string(octets(got)) != string(octets(sent)) {
		t.Errorf("the file arrived with %d bytes of %d, or changed", len(got), len(sent))
	}
	var met int
	stranger.eval(&met, `() => rtcdPair.links.length`)
	if met != 0 || stranger.text("#text") != "" {
		t.Error("somebody with another code takes part")
	}
}

func octets(numbers []int) []byte {
	b := make([]byte, len(numbers))
	for i, n := range numbers {
		b[i] = byte(n)
	}
	return b
}

// scan reads the QR code from a picture of the page, as a phone does.
func scan(t *testing.T, p *page) string {
	t.Helper()
	text, err := p.tab.ScanQR(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
