package apps

import (
	"fmt"
	"testing"

	"rtcd/test/browser"
)

const (
	mega  = 1_000_000
	small = 1 * mega  // through the server, which takes 12 pieces a second
	whole = 20 * mega // what must arrive
	huge  = 300 * mega
)

// A file arrives whole, by each way that there is.
func TestFiles(t *testing.T) {
	t.Parallel()
	inBrowsers(t, func(t *testing.T, b *browser.Browser) {
		for _, w := range append(relays(), direct, server) {
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				size := whole
				if w == server {
					size = small
				}
				from, to := filePages(t, b, b, w.query)
				from.wantLinks(1, w)
				sum := from.send(size)
				to.wantFile(size, sum)
				from.wantLinks(1, w) // the way has not changed meanwhile
			})
		}
		sizes := map[string]int{"nothing": 0}
		if long {
			sizes["huge"] = huge
		}
		for name, size := range sizes {
			t.Run(name, func(t *testing.T) {
				from, to := filePages(t, b, b, "")
				sum := from.send(size)
				to.wantFile(size, sum)
			})
		}
	})
}

// Either side can end a transfer, and one that was cancelled goes on where it stopped.
func TestFilesCancelled(t *testing.T) {
	t.Parallel()
	b := browserIn(t, browser.Chromium, world.alice)
	from, to := filePages(t, b, b, "")
	to.holdAt(6 * mega)
	sum := from.send(whole)
	to.wantHeld()
	from.click("#transfers .actions button")
	for _, p := range []*page{from, to} {
		p.wantSoon("the end", `() => rtcdFiles.transfers[0].state === "ended" && rtcdFiles.transfers[0].reason === "cancelled"`)
		p.wantSoon("no bar", `() => document.querySelector("[data-state=ended] progress")?.hidden`)
	}
	to.release()

	from.sendAgain()
	to.wantSoon("that it goes on", `() => rtcdFiles.transfers.length === 1 && rtcdFiles.transfers[0].at > 4e6`)
	to.wantFile(whole, sum)
	var sent int
	from.eval(&sent, `() => rtcdFiles.transfers[1].began`)
	if sent < 4*mega {
		t.Errorf("the second attempt began at byte %d", sent)
	}

	to.eval(nil, `() => { rtcdFiles.transfers.forEach((t) => t.blob && (window.blob = t.blob)); }`)
	to.holdAt(1)
	from.eval(nil, `() => rtcdFiles.send(rtcdFiles.links[0].id, new Blob([new Uint8Array(3e6)]), "three")`)
	to.wantHeld()
	to.click("[data-state=running] .actions button")
	to.release()
	from.wantSoon("the receiver's cancel", `() => rtcdFiles.transfers.at(-1).state === "ended" && rtcdFiles.transfers.at(-1).reason === "cancelled"`)
}

// A person who is asked says no, or says where: the file goes to that place on their disk.
func TestFilesAsked(t *testing.T) {
	t.Parallel()
	b := browserIn(t, browser.Chromium, world.alice)
	from := open(t, b, visit{app: "files", query: "auto=1", name: "from"})
	to := open(t, b, visit{app: "files", query: "auto=1", name: "to", preload: []string{aPlace}})
	from.wantLinks(1, direct)
	from.send(mega)
	to.click(`[data-state=offered] .actions button:last-child`)
	from.wantSoon("the refusal", `() => rtcdFiles.transfers[0].reason === "refused"`)

	sum := from.sendAgain()
	to.wantSoon("the question", `() => document.querySelector("[data-state=offered] .actions button") !== null`)
	to.eval(nil, `() => { window.mind = "changed"; }`)
	to.click(`[data-state=offered] .actions button`)
	to.wantSoon("that nothing is lost by thinking better of it", `() => window.mind === "made up" && document.querySelector("[data-state=offered]") !== null`)
	to.click(`[data-state=offered] .actions button`)
	to.wantSoon("the file", `() => rtcdFiles.transfers.at(-1).state === "done"`)
	var got string
	to.eval(&got, `async () => {
		const file = await window.chosen.getFile();
		return file.name + " " + [...new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()))].map((b) => b.toString(16).padStart(2, "0")).join("");
	}`)
	if got != "numbers.bin "+sum {
		t.Errorf("at the chosen place is %s, sent was %s", got, sum)
	}
}

// aPlace answers for the person whom a browser without a head cannot ask: the first time they think better of it.
const aPlace = `() => {
	window.showSaveFilePicker = async ({suggestedName}) => {
		if (window.mind === "changed") {
			window.mind = "made up";
			throw new DOMException("no", "AbortError");
		}
		const root = await navigator.storage.getDirectory();
		return window.chosen = await root.getFileHandle(suggestedName, {create: true});
	};
}`

// hold makes the receiver's disk wait when it has been given so many bytes, until it is released: that is the middle of
// a transfer, however fast it is.
const hold = `() => {
	window.hold = {at: Infinity, given: 0, held: false};
	const native = FileSystemWritableFileStream.prototype.write;
	FileSystemWritableFileStream.prototype.write = async function (bytes) {
		while (hold.given + bytes.length > hold.at) {
			hold.held = true;
			await new Promise((next) => setTimeout(next, 20));
		}
		hold.held = false;
		hold.given += bytes.length;
		return native.call(this, bytes);
	};
}`

// holdAt holds the receiver at the next transfer's byte.
func (p *page) holdAt(n int) {
	p.t.Helper()
	p.eval(nil, `(at) => Object.assign(hold, {at, given: 0})`, n)
}

func (p *page) release() {
	p.t.Helper()
	p.eval(nil, `() => { hold.at = Infinity; }`)
}

// wantHeld waits until a transfer runs and the receiver's disk holds it.
func (p *page) wantHeld() {
	p.t.Helper()
	p.wantSoon("the middle of a transfer", `() => hold.held`)
}

// filePages opens the application for a sender and a receiver who takes everything, and waits until each has the other.
func filePages(t *testing.T, left, right *browser.Browser, query string) (from, to *page) {
	t.Helper()
	from = open(t, left, visit{app: "files", query: "auto=1" + query, name: "from"})
	to = open(t, right, visit{app: "files", query: "auto=1&accept=1" + query, name: "to", preload: []string{hold}})
	for _, p := range []*page{from, to} {
		p.wantSoon("a link", `() => rtcdFiles.links.length === 1`)
	}
	return from, to
}

// send makes a file of random bytes, offers it to the only other member and returns its SHA-256.
func (p *page) send(size int) string {
	p.t.Helper()
	p.eval(nil, `(size) => {
		const piece = 65536;
		const bytes = new Uint8Array(size);
		for (let i = 0; i < size; i += piece) crypto.getRandomValues(bytes.subarray(i, i + piece));
		window.file = new File([bytes], "numbers.bin");
		window.sum = crypto.subtle.digest("SHA-256", bytes).then((sum) => [...new Uint8Array(sum)].map((b) => b.toString(16).padStart(2, "0")).join(""));
	}`, size)
	return p.sendAgain()
}

// sendAgain offers the same file once more.
func (p *page) sendAgain() string {
	p.t.Helper()
	var sum string
	p.eval(&sum, `async () => {
		const transfer = await rtcdFiles.send(rtcdFiles.links[0].id, window.file, "numbers.bin");
		const off = setInterval(() => {
			if (transfer.at === 0) return;
			transfer.began = transfer.at;
			clearInterval(off);
		}, 1);
		return window.sum;
	}`)
	return sum
}

// wantFile waits until the page's newest file is there and compares it.
func (p *page) wantFile(size int, sum string) {
	p.t.Helper()
	p.wantSoon("the whole file", `() => rtcdFiles.transfers.at(-1)?.state === "done"`)
	var got string
	p.eval(&got, `async () => {
		const {blob, name} = rtcdFiles.transfers.at(-1);
		const sum = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
		return name + " " + blob.size + " " + [...new Uint8Array(sum)].map((b) => b.toString(16).padStart(2, "0")).join("");
	}`)
	if want := fmt.Sprintf("numbers.bin %d %s", size, sum); got != want {
		p.t.Errorf("what arrived is %s, what was sent %s", got, want)
	}
	p.wantSoon("words for it", `() => document.querySelector("#transfers li").innerText.includes("verified")`)
}

// click clicks an element as soon as it is there.
func (p *page) click(selector string) {
	p.t.Helper()
	p.wantSoon(selector, `(selector) => {
		const found = document.querySelector(selector);
		found?.click();
		return found !== null;
	}`, selector)
}
