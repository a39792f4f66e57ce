package apps

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"rtcd/test/browser"
	"rtcd/test/lab"
)

// A file arrives whole although everything that can be lost is lost in the middle of it. The sender and the receiver
// are on different machines; the firewall cuts the receiver's lines.
func TestFilesThroughCuts(t *testing.T) {
	t.Parallel()
	type cut struct {
		name string
		cut  func(t *testing.T, from, to *page)
	}
	for node, cuts := range map[*lab.Node][]cut{ // one after the other on a machine, because one's cut is the other's too
		world.bob:   {{"path", cutPath}, {"everything", cutEverything}},
		world.carol: {{"hub", cutHub}, {"session", cutSession}, {"all UDP and TURN", cutToServer}},
	} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for _, c := range cuts {
				t.Run(c.name, func(t *testing.T) { throughCut(t, node, c.cut) })
			}
		})
	}
}

func throughCut(t *testing.T, node *lab.Node, cut func(t *testing.T, from, to *page)) {
	t.Cleanup(func() { firewall(t, node, "") })
	from, to := filePages(t, browserIn(t, browser.Chromium, world.alice), browserIn(t, browser.Chromium, node), "")
	to.node = node
	from.wantLinks(1, direct)
	to.wantLinks(1, direct)
	size := whole
	if long {
		size = huge
	}
	to.holdAt(size - heldBack)
	sum := from.send(size)
	to.wantHeld()
	cut(t, from, to)
	to.release()
	to.wantFile(size, sum)
	from.wantSoon("that the sender knows", `() => rtcdFiles.transfers[0].state === "done"`)
}

// heldBack is what is left of a file when its transfer is cut.
const heldBack = 2 * mega

// cutHub resets the receiver's line to the hub: the transfer does not mind.
func cutHub(t *testing.T, from, to *page) {
	hubLine(t, to)
	var at int
	from.eval(&at, `() => rtcdFiles.transfers[0].at`)
	to.eval(nil, `() => { hold.at += 1.1e6; }`) // one block and no more
	from.wantSoon("that it goes on meanwhile", `(at) => rtcdFiles.transfers[0].at > at`, at)
	firewall(t, to.node, "")
	to.wantSoon("the hub again", `() => rtcdFiles.hub.state === "open"`)
}

// hubLine resets the receiver's connections to the hub until the firewall is changed. Its page hears of it
// the next time it asks, which browsers tell it to do when the network changes.
func hubLine(t *testing.T, to *page) {
	t.Helper()
	firewall(t, to.node, reset(to.node, 443))
	to.eval(nil, `() => { dispatchEvent(new Event("online")); }`)
	to.wantSoon("that the line to the hub is lost", `() => rtcdFiles.hub.state === "reconnecting"`)
	to.wantSoon("a word about it", `() => document.getElementById("notice").textContent !== ""`)
}

// cutPath drops what goes between the two: another path is found, through the relay.
func cutPath(t *testing.T, from, to *page) {
	firewall(t, to.node, between(world.alice, to.node))
	for _, p := range []*page{from, to} {
		p.wantLinks(1, relay)
		p.wantSoon("a channel", `() => rtcdFiles.links[0]?.path === "channel"`)
	}
}

// cutToServer leaves the receiver nothing but the hub.
func cutToServer(t *testing.T, from, to *page) {
	firewall(t, to.node, drop(to.node, "meta l4proto udp")+drop(to.node, "tcp dport { 3478, 5349 }")+drop(to.node, "tcp sport { 3478, 5349 }"))
	for _, p := range []*page{from, to} {
		p.wantLinks(1, server)
	}
}

// cutEverything is a tunnel: both lines are gone for a while and come back.
func cutEverything(t *testing.T, from, to *page) {
	hubLine(t, to)
	firewall(t, to.node, reset(to.node, 443)+drop(to.node, "meta l4proto udp"))
	for _, p := range []*page{from, to} {
		p.wantSoon("that the path is lost", `() => rtcdFiles.links[0]?.path !== "channel"`)
	}
	firewall(t, to.node, "")
	for _, p := range []*page{from, to} {
		p.wantSoon("the hub", `() => rtcdFiles.hub.state === "open"`)
		p.wantSoon("the path", `() => rtcdFiles.links[0]?.path === "channel"`)
	}
}

// cutSession makes both begin new sessions, as after a restart of the server: each is somebody else to the other then,
// and the old ones count as away.
func cutSession(t *testing.T, from, to *page) {
	for _, p := range []*page{from, to} {
		before := p.id("rtcdFiles")
		p.eval(nil, `() => { rtcdFiles.hub._resume = ""; rtcdFiles.hub._socket.close(); }`)
		p.wantSoon("a new session", `(before) => rtcdFiles.hub.state === "open" && rtcdFiles.hub.peer !== before`, before)
	}
}

// cuts are the router's rules, by the node that they are meant for.
var cuts = struct {
	sync.Mutex
	rules map[*lab.Node]string
}{rules: map[*lab.Node]string{}}

// firewall replaces what the router drops of a node's.
func firewall(t *testing.T, node *lab.Node, rules string) {
	t.Helper()
	cuts.Lock()
	defer cuts.Unlock()
	cuts.rules[node] = rules
	if err := world.net.Firewall(strings.Join(slices.Collect(maps.Values(cuts.rules)), "")); err != nil {
		t.Fatal(err)
	}
}

// ofNode writes a rule for what comes from the node, and one for what goes to it, in both families: match stands between
// addresses and verdict.
func ofNode(node *lab.Node, match, verdict string) string {
	return fmt.Sprintf("ip saddr %[1]s %[3]s %[4]s\nip daddr %[1]s %[3]s %[4]s\nip6 saddr %[2]s %[3]s %[4]s\nip6 daddr %[2]s %[3]s %[4]s\n",
		node.IP4, node.IP6, match, verdict)
}

// drop takes away what matches.
func drop(node *lab.Node, match string) string { return ofNode(node, match, "drop") }

// reset ends the node's connections to a port.
func reset(node *lab.Node, port int) string {
	return ofNode(node, fmt.Sprintf("tcp dport %d", port), "reject with tcp reset")
}

// between drops the UDP of two nodes.
func between(a, b *lab.Node) string {
	const both = "ip saddr %[1]s ip daddr %[2]s %[5]s\nip saddr %[2]s ip daddr %[1]s %[5]s\n" +
		"ip6 saddr %[3]s ip6 daddr %[4]s %[5]s\nip6 saddr %[4]s ip6 daddr %[3]s %[5]s\n"
	return fmt.Sprintf(both, a.IP4, b.IP4, a.IP6, b.IP6, "meta l4proto udp drop")
}
