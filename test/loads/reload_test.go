package loads

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rtcd/test/lab"
	"rtcd/test/soak"
	"rtcd/test/turnclient"
)

const turnsPort = 5349

// certificate is one that lies where the server looks for it.
type certificate struct {
	ca      *lab.CA
	dir     string
	targets [2]string // of certificate and key
}

func newCertificate(t *testing.T) *certificate {
	t.Helper()
	dir := t.TempDir()
	ca, err := lab.NewCA(dir)
	must(t, err)
	c := &certificate{ca, dir, [2]string{filepath.Join(dir, "live.crt"), filepath.Join(dir, "live.key")}}
	c.renew(t)
	return c
}

// settings have a server use it.
func (c *certificate) settings() []string {
	return []string{
		"listen.turns=" + netip.AddrPortFrom(world.server.IP4, turnsPort).String(),
		"tls.mode=files", "tls.cert_file=" + c.targets[0], "tls.key_file=" + c.targets[1],
	}
}

// renew issues one and puts it in place.
func (c *certificate) renew(t *testing.T) {
	t.Helper()
	cert, key, err := c.ca.Issue([]string{"turn.test"}, world.server.IP4)
	must(t, err)
	must(t, os.Rename(cert, c.targets[0]))
	must(t, os.Rename(key, c.targets[1]))
}

// serial is that of the certificate that a new connection is shown.
func (c *certificate) serial(t *testing.T) string {
	t.Helper()
	conn := c.connect(t)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func (c *certificate) connect(t *testing.T) *tls.Conn {
	t.Helper()
	raw, err := world.clients.Dial(t.Context(), "tcp", netip.AddrPortFrom(world.server.IP4, turnsPort).String())
	must(t, err)
	conn := tls.Client(raw, &tls.Config{RootCAs: c.ca.Pool(), ServerName: "turn.test"})
	must(t, conn.HandshakeContext(patient(t)))
	return conn
}

func TestF3CertificateRotation(t *testing.T) {
	if !long() {
		return
	}
	row := newRow(t, "F3", "the certificate is replaced in mid-call, then by a broken file, then by one that does not fit its key")
	c := newCertificate(t)
	s := serve(t, c.settings()...)
	old := turnclient.New(c.connect(t), "old", secret)
	defer old.Conn.Close()
	must(t, old.Allocate())
	must(t, old.Bind(channel, echo(t, world.peers)))

	p := s.pulse(t)
	o := soak.Options{Calls: 20, Outside: 20, Rate: 2000, For: 20 * time.Second}
	o.During = func() error {
		first := c.serial(t)
		longest, err := p.gap(func() {
			c.renew(t)
			begin := time.Now()
			s.signal(t, syscall.SIGHUP)
			eventually(t, "new handshakes show the new certificate", func() bool { return c.serial(t) != first })
			row.figure("the new one was shown after %s", millis(time.Since(begin)))
			time.Sleep(time.Second)
		})
		if err != nil {
			return err
		}
		row.figure("the longest gap in a call with a packet every %v meanwhile: %s", beat, millis(longest))
		second := c.serial(t)
		if first == second {
			return errors.New("the certificate is the old one")
		}
		good, err := os.ReadFile(c.targets[1])
		if err != nil {
			return err
		}
		spare, otherKey, err := c.ca.Issue([]string{"spare.test"}, world.server.IP4)
		if err != nil {
			return err
		}
		other, err := os.ReadFile(otherKey)
		if err := errors.Join(err, os.Remove(spare), os.Remove(otherKey)); err != nil {
			return err
		}
		for what, key := range map[string][]byte{"broken": []byte("no key at all"), "another's": other} {
			if err := os.WriteFile(c.targets[1], key, 0o600); err != nil {
				return err
			}
			if out, err := s.command(t, "reload").CombinedOutput(); err == nil {
				t.Errorf("a key that is %s is taken: %s", what, out)
			}
			if c.serial(t) != second {
				t.Errorf("the certificate has changed with a key that is %s", what)
			}
		}
		if err := os.WriteFile(c.targets[1], good, 0o600); err != nil {
			return err
		}
		return errors.Join(wantEcho(old, "still here"), old.Refresh(10*time.Minute))
	}
	row.wantAccount(load(t, s, o))
	row.figure("broken and unfitting keys refused, the certificate of before stayed; the TLS connection of before went on")
}

func TestF4ReloadInMidCall(t *testing.T) {
	if !long() {
		return
	}
	const hangups = 100
	row := newRow(t, "F4", fmt.Sprintf("%d SIGHUPs in mid-call, each with another configuration and one with another certificate; invalid YAML, another secret, a peer denied", hangups))
	cert := newCertificate(t)
	s := serve(t, append(cert.settings(), "log.level=info")...)
	c := s.mustDial(t, "udp", "denied")
	must(t, c.Allocate())
	must(t, c.Bind(channel, echo(t, world.others)))
	must(t, wantEcho(c, "before"))
	reload := func() error {
		out, err := s.command(t, "reload").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("reload: %w: %s", err, out)
		}
		return err
	}
	p := s.pulse(t)
	o := soak.Options{Calls: 50, Outside: 50, Rate: 5000, For: 30 * time.Second}
	o.During = func() error {
		const every, most = 20 * time.Millisecond, 20 * time.Millisecond
		usual, err := p.gap(func() { time.Sleep(hangups * every) })
		if err != nil {
			return err
		}
		first := cert.serial(t)
		longest, err := p.gap(func() {
			for i := range hangups {
				if i == hangups/2 {
					cert.renew(t)
				}
				s.configure(t, strings.Replace(config(), "allocations_per_user: 0", fmt.Sprintf("allocations_per_user: %d", 1000+i), 1))
				s.signal(t, syscall.SIGHUP)
				time.Sleep(every)
				eventually(t, "the reload is done", func() bool { return strings.Count(s.process.Output(), "configuration reloaded") == i+1 })
			}
		})
		if err != nil {
			return err
		}
		if longest > max(most, 2*usual) {
			t.Errorf("the longest gap during the reloads is %v, of at most %v; without them it is %v", longest, most, usual)
		}
		if cert.serial(t) == first {
			t.Error("the certificate is the old one")
		}
		row.figure("the longest gap in a call with a packet every %v: %s during the reloads, %s in as long a time before", beat, millis(longest), millis(usual))
		s.configure(t, "turn: [")
		if err := reload(); err == nil {
			t.Error("invalid YAML is taken")
		}
		if n := s.metric(t, "rtcd_config_last_reload_successful"); n != 0 {
			t.Errorf("rtcd_config_last_reload_successful is %v after a refused reload", n)
		}
		const newer = "another secret for loads, long enough"
		s.configure(t, strings.Replace(config(), fmt.Sprintf("[%q]", secret), fmt.Sprintf("[%q, %q]", newer, secret), 1))
		if err := reload(); err != nil {
			return err
		}
		fresh := s.mustDial(t, "udp", "fresh")
		if err := errors.Join(c.Refresh(10*time.Minute), turnclient.New(fresh.Conn, "fresh", newer).Allocate(), wantEcho(c, "between")); err != nil {
			return err
		}
		s.configure(t, strings.Replace(config(), "realm: loads", fmt.Sprintf("realm: loads\n  peers: {deny: [recommended, %v]}", world.others.IP4), 1))
		if err := reload(); err != nil {
			return err
		}
		return s.wantDenied(t, c)
	}
	r := load(t, s, o)
	row.wantAccount(r, "rtcd: peer_denied", "rtcd: no_permission")
	row.figure("refused reloads change nothing; the denied peer got nothing more after `rtcd reload` had returned")
}

// wantDenied wants a message to its peer to be dropped.
func (s *server) wantDenied(t *testing.T, c *turnclient.Client) error {
	t.Helper()
	const denied = `rtcd_turn_dropped_packets_total\{reason="peer_denied"\}`
	before := s.metric(t, denied)
	if _, err := c.Conn.Write([]byte("\x40\x00\x00\x04late")); err != nil {
		return err
	}
	eventually(t, "the message is dropped", func() bool { return s.metric(t, denied) > before })
	return nil
}
