package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"rtcd/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/internal/supervisor") }

// manager is a service manager's end of a notify socket.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &manager{t, conn}
}

// next is the next message.
func (m *manager) next() string {
	m.t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 4096)
	n, err := m.conn.Read(buf)
	if err != nil {
		m.t.Fatalf("the service manager hears nothing: %v", err)
	}
	return string(buf[:n])
}

func (m *manager) want(expr string) {
	m.t.Helper()
	if got := m.next(); !regexp.MustCompile("^(?:" + expr + ")$").MatchString(got) {
		m.t.Errorf("the service manager heard %q, want %s", got, expr)
	}
}

func TestMessages(t *testing.T) {
	m := newManager(t)
	Ready("serving https://rtc.example.com")
	m.want("READY=1\nSTATUS=serving https://rtc.example.com")
	Reloading()
	m.want(`RELOADING=1(\nMONOTONIC_USEC=\d+)?`)
	Stopping("draining")
	m.want("STOPPING=1\nSTATUS=draining")
	Status("bad\nREADY=1")
	m.want("STATUS=bad READY=1")
	More(2 * time.Minute)
	m.want("EXTEND_TIMEOUT_USEC=120000000")
}

func TestNobodyListens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	Ready("alone")
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	Ready("nobody is there")
}

// watch runs a watchdog until the test ends.
func watch(t *testing.T, limit time.Duration, checks ...Check) {
	t.Helper()
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(limit.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", "")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	w := Watchdog{Checks: func() []Check { return checks }, Log: slog.New(slog.DiscardHandler)}
	// The test owns it; its end cancels ctx.
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// What a check does is told by a word: pass, fail, hang, panic.
func check(name string, does <-chan string) Check {
	return Check{name, func(ctx context.Context) error {
		switch <-does {
		case "fail":
			return errors.New("no answer")
		case "hang":
			<-ctx.Done()
			return ctx.Err()
		case "panic":
			panic("of the check")
		}
		return nil
	}}
}

// Each round of the watchdog reports life only if every check of it has passed.
func TestWatchdogIsFedOnlyByChecksThatPass(t *testing.T) {
	m := newManager(t)
	relay, hub := make(chan string), make(chan string)
	watch(t, 40*time.Millisecond, check("relay", relay), check("hub", hub))
	t.Cleanup(func() { close(relay); close(hub) }) // from here on they pass
	for _, round := range []struct{ relay, hub, heard string }{
		{"pass", "pass", "WATCHDOG=1"},
		{"fail", "pass", "STATUS=relay: no answer"},
		{"pass", "hang", "STATUS=hub: context deadline exceeded"},
		{"pass", "panic", "STATUS=hub: panic: of the check"},
		{"fail", "fail", "STATUS=relay: no answer"},
		{"pass", "pass", "WATCHDOG=1"},
	} {
		relay <- round.relay
		hub <- round.hub
		m.want(round.heard)
	}
}

func TestNoWatchdogNoChecks(t *testing.T) {
	for name, usec := range map[string]string{"unset": "", "wrong": "soon"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("WATCHDOG_USEC", usec)
			t.Setenv("WATCHDOG_PID", "")
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var log strings.Builder
			w := Watchdog{Log: slog.New(slog.NewTextHandler(&log, nil)), Checks: func() []Check {
				t.Error("checked for nobody")
				return nil
			}}
			if err := w.Run(ctx); err != nil {
				t.Error(err)
			}
			if told := strings.Contains(log.String(), "cannot be fed"); told != (usec != "") {
				t.Errorf("it logs %q", log.String())
			}
		})
	}
}
