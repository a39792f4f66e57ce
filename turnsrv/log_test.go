package turnsrv

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"rtcd/creds"
	"rtcd/turnsrv/relay"
)

// journal is a log that may be read while it is written.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) lines() int { return strings.Count(j.String(), "\n") }

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Whole sessions over every transport, good and bad ones, a panic and errors, with the
// log at its chattiest: no secret, password, derived key or nonce is in it, nor in an
// event or an error.
func TestNoSecretIsLogged(t *testing.T) {
	const secret, nonceKey = "not-for-the-log-secret-0123456789", "not-for-the-log-nonce-key"
	var log journal
	keys, err := creds.NewKeys(creds.KeysOptions{Secrets: []string{secret}, Realm: testRealm})
	if err != nil {
		t.Fatal(err)
	}
	o := testOptions(everyListener("127.0.0.1")...)
	o.Keys, o.NonceKey, o.Logger = Credentials(keys), []byte(nonceKey), log.logger()
	o.Policy.Limits.FailedLogins = relay.Rate{N: 1, Per: time.Second}
	boom := make(chan bool, 1)
	o.OnEvent = func(e relay.Event) {
		o.Logger.Info("event", "event", fmt.Sprintf("%+v", e))
		select {
		case <-boom:
			panic(fmt.Sprintf("%+v", e))
		default:
		}
	}
	s := serve(t, o)
	peer := echo(t, "127.0.0.1:0")
	issued := keys.Issue("alice", time.Hour, time.Now())
	forbidden := []string{secret, nonceKey, hex.EncodeToString([]byte(nonceKey)), issued.Password}
	for _, tr := range transports {
		c := dial(t, s, tr)
		c.user, c.pass = issued.Username, issued.Password
		if tr == relay.UDP { // elsewhere a panic ends the connection
			boom <- true
		}
		c.allocate(1)
		c.bind(0x4000, peer)
		c.write(c.channelData(0x4000, []byte("hello")))
		c.wantChannelData(0x4000, []byte("hello"))
		if n := code(c.request(stun.MethodCreatePermission, xorPeer(s.Addrs(relay.UDP)[0]))); n != 0 && n != 403 {
			t.Errorf("%v: %d", tr, n)
		}
		c.wantOK(c.request(stun.MethodRefresh, raw(stun.AttrLifetime, 0, 0, 0, 0)))
		for _, alg := range []string{c.nonce, string(stun.NewLongTermIntegrity(c.user, testRealm, c.pass))} {
			forbidden = append(forbidden, alg, hex.EncodeToString([]byte(alg)))
		}
		bad := dial(t, s, tr)
		bad.user, bad.pass = issued.Username, "guess-of-the-password"
		bad.request(stun.MethodAllocate, raw(stun.AttrRequestedTransport, 17, 0, 0, 0))
		forbidden = append(forbidden, bad.pass, bad.nonce)
	}
	dial(t, s, relay.TCP).write([]byte("GET /?token=" + issued.Password + " HTTP/1.1\r\n\r\n"))
	dialAt(t, s.Addrs(relay.TLS)[0], relay.TCP).write([]byte("GET /?token=" + issued.Password + " HTTP/1.1\r\n\r\n"))
	eventually(t, "the strangers are put out", func() bool {
		return metric(s, "connections_ended", "frame_too_long") == 1 && metric(s, "connections_ended", "handshake") == 1
	})
	wantPanics(t, s, "events", 1)
	if text := log.String(); !strings.Contains(text, "event") || !strings.Contains(text, "panic") || !strings.Contains(text, "handshake failed") {
		t.Fatalf("the log does not hold what this test is about:\n%s", text)
	}
	for _, word := range forbidden {
		if word != "" && strings.Contains(log.String(), word) {
			t.Errorf("the log holds %q", word)
		}
	}
	_, err = creds.NewKeys(creds.KeysOptions{Secrets: []string{secret, secret}, Realm: testRealm})
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("the error about a secret: %v", err)
	}
}

// What strangers do by the thousand writes a handful of lines, at debug level too: junk,
// bad handshakes, refused connections, wrong passwords, stray packets to relay ports.
func TestStrangersDoNotFloodTheLog(t *testing.T) {
	var log journal
	o := testOptions(everyListener("127.0.0.1")...)
	o.Logger = log.logger()
	o.Policy.Limits.Unauthenticated = relay.Rate{}
	s := serve(t, o)
	c := dial(t, s, relay.UDP)
	relayed := c.allocate(1)
	before := log.lines()
	stray, stranger := dialAt(t, relayed, relay.UDP), dial(t, s, relay.UDP)
	challenge := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)).Raw
	for i := range 20_000 {
		stray.nc.Write([]byte("a packet that nobody wants"))
		stranger.nc.Write([][]byte{challenge, {0xff, 1, 2, 3}, {0, 1}, challenge[:19]}[i%4])
	}
	for i := range 100 {
		tr := []relay.Transport{relay.TCP, relay.TLS}[i%2]
		dialAt(t, s.Addrs(tr)[0], relay.TCP).nc.Write([]byte("\xffjunk"))
	}
	eventually(t, "all of them are seen", func() bool {
		ended := metric(s, "connections_ended", "not_turn") + metric(s, "connections_ended", "handshake") + metric(s, "connections_refused", "")
		return ended >= 100 && metric(s, "dropped_packets", "no_permission") > 0 && metric(s, "dropped_packets", "rate_limited") > 0
	})
	if n := log.lines() - before; n > 20 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
}

// What the limits refuse is told in one line per ten seconds, by reason.
func TestRefusalsAreTold(t *testing.T) {
	var log journal
	inWorld(t, func(t *testing.T, w *world) {
		w.srv.opt.Logger = log.logger()
		time.Sleep(11 * time.Second)
		c := w.overUDP()
		for range 500 {
			c.write(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw)
		}
		for range 50 {
			nc, err := w.net.Dial(netip.AddrPortFrom(fakeClient, 0), fakeServer)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { nc.Close() })
		}
		time.Sleep(time.Minute)
	})
	if n := strings.Count(log.String(), "limits refused strangers"); n != 1 {
		t.Errorf("%d lines, want one:\n%s", n, log.String())
	}
	for _, want := range []string{"binding_limited=300", "per_ip=18"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in %q", want, log.String())
		}
	}
}
