package test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"rtcd/test/lab"
)

// Host names of the server in the lab.
const (
	hostBoth  = "rtc.test"       // has both addresses
	hostIP4   = "ip4.rtc.test"   // has the IPv4 address alone
	hostIP6   = "ip6.rtc.test"   // has the IPv6 address alone
	hostOther = "other.rtc.test" // is another server, where coturn or a second rtcd runs
)

const realm = "rtc.test"

// Ports of either server, coturn's and ours.
const (
	turnPort  = 3478
	turnsPort = 5349
)

// world is what all tests share: two clients, the node where rtcd runs and one for coturn as the yardstick.
var world struct {
	net                        *lab.Net
	alice, bob, server, coturn *lab.Node
	ca                         *lab.CA
	certFile, keyFile          string
	program                    string // the built rtcd
}

func TestMain(m *testing.M) {
	lab.Main(func(dir string) (int, error) { return runAll(m, dir) })
}

func runAll(m *testing.M, dir string) (code int, err error) {
	if err := requireTools(); err != nil {
		return 1, err
	}
	if world.program, err = lab.Build("..", dir); err != nil {
		return 1, err
	}
	if world.net, err = lab.New(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.net.Close()) }()
	if err := populate(dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// requireTools names everything that is missing at once.
func requireTools() error {
	packages := map[string]string{
		"ip": "iproute2", "nft": "nftables", "sysctl": "procps", "certutil": "libnss3-tools", "/usr/bin/python3": "python3-aioice",
		"turnserver": "coturn", "turnutils_uclient": "coturn", "turnutils_stunclient": "coturn", "turnutils_peer": "coturn",
		"chromium": "chromium", "firefox-esr": "firefox-esr",
	}
	var missing []error
	for tool, pkg := range packages {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, fmt.Errorf("%s is missing: apt-get install %s", tool, pkg))
		}
	}
	if os.Getuid() != 0 {
		missing = append(missing, errors.New("network namespaces need root"))
	}
	return errors.Join(missing...)
}

func populate(dir string) error {
	for _, node := range []struct {
		place **lab.Node
		name  string
		host  byte
	}{{&world.server, "srv", 0x10}, {&world.coturn, "ref", 0x20}, {&world.alice, "alice", 0x61}, {&world.bob, "bob", 0x62}} {
		made, err := world.net.Add(node.name, node.host)
		if err != nil {
			return err
		}
		*node.place = made
	}
	s, other := world.server, world.coturn
	err := errors.Join(world.net.Name(hostOther, other.IP4, other.IP6), world.net.Name(hostBoth, s.IP4, s.IP6), world.net.Name(hostIP4, s.IP4), world.net.Name(hostIP6, s.IP6))
	if err != nil {
		return err
	}
	if world.ca, err = lab.NewCA(dir); err != nil {
		return err
	}
	world.certFile, world.keyFile, err = world.ca.Issue([]string{hostBoth, hostIP4, hostIP6, hostOther}, s.IP4, s.IP6)
	return err
}

// target is a running TURN server and credentials for it.
type target struct {
	node           *lab.Node
	user, password string
}

// ip is the server's address of a family.
func (to target) ip(f family) netip.Addr {
	if f == ip6 {
		return to.node.IP6
	}
	return to.node.IP4
}

// transport is how a client reaches the server.
type transport string

const (
	overUDP  transport = "udp"
	overTCP  transport = "tcp"
	overTLS  transport = "tls"
	overDTLS transport = "dtls"
)

var allTransports = []transport{overUDP, overTCP, overTLS, overDTLS}

func (tr transport) port() uint16 {
	if tr == overTLS || tr == overDTLS {
		return turnsPort
	}
	return turnPort
}

// family is by which IP the client reaches the server.
type family string

const (
	ip4 family = "ip4"
	ip6 family = "ip6"
)

var families = []family{ip4, ip6}

// own is the node's address of a family.
func own(node *lab.Node, f family) netip.Addr {
	if f == ip6 {
		return node.IP6
	}
	return node.IP4
}

// patient is the context of a test: nothing here is measured by the clock, so the deadline is generous.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute) // loads of other work beside it make a transfer slow
	t.Cleanup(cancel)
	return ctx
}

// start runs a program until the end of the test. Its output is shown if the test failed.
func start(t *testing.T, cmd *exec.Cmd) *lab.Process {
	t.Helper()
	p, err := lab.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		if out := p.Output(); strings.Contains(out, "panic") || strings.Contains(out, "DATA RACE") { // the latter with GOFLAGS=-race
			t.Errorf("%s panicked or raced", cmd.Path)
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", cmd.Path, p.Output())
		}
	})
	return p
}

// awaitTCP waits until somebody listens at the address in the node.
func awaitTCP(t *testing.T, node *lab.Node, at netip.AddrPort) {
	t.Helper()
	ctx := patient(t)
	for {
		conn, err := node.Dial(ctx, "tcp", at.String())
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("nobody listens at %s: %v", at, err)
		}
	}
}
