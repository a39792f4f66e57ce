package main

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serviceManager is systemd's end of a notify socket.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &serviceManager{t, conn}
}

// next is the next message.
func (m *serviceManager) next() string {
	m.t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	n, err := m.conn.Read(buf)
	if err != nil {
		m.t.Fatalf("the service manager hears nothing: %v", err)
	}
	return string(buf[:n])
}

// hears passes over messages up to one with the text.
func (m *serviceManager) hears(text string) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if strings.Contains(m.next(), text) {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("the service manager does not hear %q", text)
		}
	}
}

// The service manager hears of start, reload, life and end, and nothing of life while
// the hub does not answer; /healthz says the same.
func TestServiceManagerHearsWhatIsSo(t *testing.T) {
	m := newServiceManager(t)
	t.Setenv("WATCHDOG_USEC", "2000000")
	t.Setenv("WATCHDOG_PID", "")
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	var wedged atomic.Bool
	a := startWith(t, io.Discard, "", func(a *app) {
		site := a.https.server.Handler
		a.https.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if wedged.Load() {
				<-r.Context().Done()
				return
			}
			site.ServeHTTP(w, r)
		})
	})
	m.hears("READY=1\nSTATUS=serving https://127.0.0.1:")
	m.hears("WATCHDOG=1")
	if status, text := a.health(); status != http.StatusOK {
		t.Errorf("/healthz: %d %s", status, text)
	}
	wedged.Store(true)
	m.hears("STATUS=hub: WebSocket at 127.0.0.1:")
	for range 2 {
		if got := m.next(); got == "WATCHDOG=1" {
			t.Error("life is reported of a hub that does not answer")
		}
	}
	if status, text := a.health(); status != http.StatusServiceUnavailable || !strings.Contains(text, "hub: ") {
		t.Errorf("/healthz of a wedged hub: %d %s", status, text)
	}
	wedged.Store(false)
	m.hears("WATCHDOG=1")
	if _, err := a.reload(t.Context()); err != nil {
		t.Error(err)
	}
	m.hears("RELOADING=1")
	m.hears("READY=1")
	a.end()
	m.hears("STOPPING=1")
}

// health asks over the socket in the runtime directory.
func (r *running) health() (status int, text string) {
	r.t.Helper()
	answer, err := ask(r.t.Context(), adminClient(runtimeSocket()), http.MethodGet, "/healthz", "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Error(err)
	}
	return answer.StatusCode, string(body)
}
