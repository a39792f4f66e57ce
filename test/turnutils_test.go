package test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startCoturn runs coturn itself, the yardstick.
func startCoturn(t *testing.T) target {
	t.Helper()
	const secret = "the yardstick's own secret, 32 bytes and more"
	node, dir := world.coturn, t.TempDir()
	start(t, node.Command(context.WithoutCancel(t.Context()), "turnserver", "-n", "--no-cli", "--log-file", "stdout", "--simple-log",
		"--use-auth-secret", "--static-auth-secret", secret, "--realm", realm,
		"--listening-port", strconv.Itoa(turnPort), "--tls-listening-port", strconv.Itoa(turnsPort),
		"--cert", world.certFile, "--pkey", world.keyFile,
		"-L", node.IP4.String(), "-L", node.IP6.String(), "-E", node.IP4.String(), "-E", node.IP6.String(),
		"--userdb", filepath.Join(dir, "turndb"), "--pidfile", filepath.Join(dir, "pid")))
	for _, port := range []uint16{turnPort, turnsPort} {
		awaitTCP(t, node, netip.AddrPortFrom(node.IP4, port)) // its log is buffered, so nothing is seen there in time
	}
	user := fmt.Sprintf("%d:yardstick", time.Now().Add(time.Hour).Unix())
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(user))
	return target{node: node, user: user, password: base64.StdEncoding.EncodeToString(mac.Sum(nil))}
}

// count is what turnutils_uclient reports in the end.
type count struct{ sent, received, lost, dropped int }

var (
	uclientTotals = regexp.MustCompile(`start_mclient: tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n`)
	uclientLosses = regexp.MustCompile(`Total lost packets (-?\d+) .*total send dropped (-?\d+) `)
)

// parseUclient reads the closing report; the lines of progress before it look alike but begin with msz=.
func parseUclient(out string) (count, error) {
	totals, losses := uclientTotals.FindStringSubmatch(out), uclientLosses.FindStringSubmatch(out)
	if totals == nil || losses == nil {
		return count{}, fmt.Errorf("turnutils_uclient gave no report:\n%s", out)
	}
	var c count
	for i, field := range []*int{&c.sent, &c.received, &c.lost, &c.dropped} {
		n, err := strconv.Atoi([]string{totals[1], totals[2], losses[1], losses[2]}[i])
		if err != nil {
			return count{}, err
		}
		*field = n
	}
	return c, nil
}

// uclient runs turnutils_uclient from alice against the target with two clients of 100 messages each.
func uclient(ctx context.Context, to target, tr transport, f family, flags ...string) (count, error) {
	args := append([]string{
		"-u", to.user, "-w", to.password, "-n", "100", "-m", "2", "-l", "171", "-z", "20",
		"-p", strconv.Itoa(int(tr.port())),
	}, flags...)
	switch tr {
	case overTCP:
		args = append(args, "-t")
	case overTLS:
		args = append(args, "-t", "-S", "-E", world.ca.File)
	case overDTLS:
		args = append(args, "-S")
	case overUDP:
	}
	cmd := world.alice.Command(ctx, "turnutils_uclient", append(args, to.ip(f).String())...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return count{}, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return parseUclient(string(out))
}

// wantWhole fails unless every message came back; min is how many have to be sent at least.
func wantWhole(t *testing.T, c count, err error, atLeast int) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if c.sent < atLeast || c.received != c.sent || c.lost != 0 || c.dropped != 0 {
		t.Errorf("coturn's client reports %+v; want at least %d sent and all of them received", c, atLeast)
	}
}

// Client to client, each with a second allocation on the odd port (EVEN-PORT and RESERVATION-TOKEN): four sessions.
func TestCoturnClientLosesNothing(t *testing.T) {
	to := startRTCD(t, unlimited).target(t)
	t.Run("all", func(t *testing.T) {
		for _, tr := range []transport{overUDP, overTCP, overDTLS} {
			for _, f := range families {
				t.Run(string(tr)+"/"+string(f), func(t *testing.T) {
					t.Parallel()
					c, err := uclient(patient(t), to, tr, f, "-y")
					wantWhole(t, c, err, 400)
				})
			}
		}
		for name, flags := range map[string][]string{
			"relay on IPv6":            {"-y", "-x"},
			"relay on IPv4 by name":    {"-y", "-X"},
			"send indications":         {"-y", "-s"},
			"padded channel data":      {"-y", "-D"},
			"don't fragment":           {"-y", "-g"},
			"extra requests":           {"-y", "-G"},
			"small messages":           {"-y", "-l", "33"},
			"messages close to an MTU": {"-y", "-l", "1300"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c, err := uclient(patient(t), to, overUDP, ip4, flags...)
				wantWhole(t, c, err, 200)
			})
		}
	})
}

func TestCoturnClientKeepsWithinTheDefaultLimits(t *testing.T) {
	c, err := uclient(patient(t), startRTCD(t).target(t), overUDP, ip4, "-y")
	wantWhole(t, c, err, 400)
}

// Through the network to a peer that echoes.
func TestCoturnClientReachesAPeer(t *testing.T) {
	to := startRTCD(t, unlimited).target(t)
	start(t, world.bob.Command(context.WithoutCancel(t.Context()), "turnutils_peer", "-p", "3480",
		"-L", world.bob.IP4.String(), "-L", world.bob.IP6.String()))
	t.Run("all", func(t *testing.T) {
		for _, tr := range []transport{overUDP, overTCP, overDTLS} {
			t.Run(string(tr), func(t *testing.T) {
				t.Parallel()
				c, err := uclient(patient(t), to, tr, ip4, "-e", world.bob.IP4.String(), "-r", "3480")
				wantWhole(t, c, err, 200)
			})
		}
		t.Run("on IPv6", func(t *testing.T) {
			t.Parallel()
			c, err := uclient(patient(t), to, overUDP, ip6, "-x", "-e", world.bob.IP6.String(), "-r", "3480")
			wantWhole(t, c, err, 200)
		})
	})
}

// Over TLS the client loses about one message in a hundred against its own server too, so that is the measure: both
// servers at the same time, and a difference that chance does not explain (three standard deviations of the
// difference of two counts) is a failure.
func TestCoturnClientLosesNoMoreOverTLSThanAgainstCoturn(t *testing.T) {
	targets := []target{startRTCD(t, unlimited).target(t), startCoturn(t)}
	counts := make([]count, len(targets))
	t.Run("at once", func(t *testing.T) {
		for i, to := range targets {
			t.Run(to.node.IP4.String(), func(t *testing.T) {
				t.Parallel()
				var err error
				if counts[i], err = uclient(patient(t), to, overTLS, ip4, "-y", "-n", "200"); err != nil {
					t.Fatal(err)
				}
			})
		}
	})
	ours, theirs := counts[0], counts[1]
	chance := 3 * math.Sqrt(float64(ours.lost+theirs.lost))
	t.Logf("lost over TLS: %d of %d against rtcd, %d of %d against coturn", ours.lost, ours.sent, theirs.lost, theirs.sent)
	if ours.sent < 800 || ours.dropped > 0 || float64(ours.lost) > float64(theirs.lost)+chance {
		t.Errorf("rtcd %+v, coturn %+v", ours, theirs)
	}
}

func TestStunClientSeesItsAddress(t *testing.T) {
	startRTCD(t)
	for _, f := range families {
		t.Run(string(f), func(t *testing.T) {
			cmd := world.alice.Command(patient(t), "turnutils_stunclient", "-p", strconv.Itoa(turnPort), own(world.server, f).String())
			out, err := cmd.CombinedOutput()
			m := regexp.MustCompile(`UDP reflexive addr: (\S+)`).FindStringSubmatch(string(out))
			if err != nil || m == nil {
				t.Fatalf("%v\n%s", err, out)
			}
			seen := m[1][:strings.LastIndexByte(m[1], ':')] // it prints IPv6 without brackets
			if seen != own(world.alice, f).String() {
				t.Errorf("reflexive address %q; want one of %s", m[1], own(world.alice, f))
			}
		})
	}
}

// The yardstick itself has to work, or the comparison says nothing.
func TestCoturnPassesItsOwnClient(t *testing.T) {
	to := startCoturn(t)
	c, err := uclient(patient(t), to, overUDP, ip4, "-y")
	wantWhole(t, c, err, 400)
}
