package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"rtcd/config"
	"rtcd/mux"
	"rtcd/turnsrv"
	"rtcd/turnsrv/udp"
)

// portTries is how many ports are tried where the next free one will do.
const portTries = 100

// listenStream binds a TCP address or a unix socket. With next, a taken port is
// passed over for the next free one.
func listenStream(a config.Address, next bool) (net.Listener, error) {
	if path, ok := a.Unix(); ok {
		return listenUnix(path)
	}
	host, port, err := net.SplitHostPort(string(a))
	if err != nil {
		return nil, err
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	for n := first; ; n++ {
		var how net.ListenConfig
		how.SetMultipathTCP(false) // its connections inherit no options
		l, err := how.Listen(context.Background(), "tcp", net.JoinHostPort(host, strconv.Itoa(n)))
		switch {
		case err == nil:
			return l, nil
		case !isTaken(err):
			return nil, fmt.Errorf("cannot listen on %s: %w", a, err)
		case !next || n-first >= portTries:
			return nil, fmt.Errorf("cannot listen on %s: port %d is taken%s", a, n, heldBy("tcp", n))
		}
	}
}

// isTaken tells whether a port was refused because somebody else has it.
func isTaken(err error) bool {
	const windowsAddrInUse = syscall.Errno(10048) // WSAEADDRINUSE; no errno of other systems
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, windowsAddrInUse) || errors.Is(err, udp.ErrTaken)
}

// listenUnix replaces a socket that a dead process left behind, but not a live one.
func listenUnix(path string) (net.Listener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("cannot listen on unix:%s: another process does", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		os.Remove(path)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on unix:%s: %w", path, err)
	}
	return l, os.Chmod(path, 0o600)
}

// heldBy says who has a port, as far as it can be found out.
func heldBy(network string, port int) string {
	if who := portHolder(network, port); who != "" {
		return " by " + who
	}
	return ""
}

// httpServer is one HTTP server with its listeners.
type httpServer struct {
	server    *http.Server
	visitors  *mux.Visitors // those of the server, and of the ports that it shares
	listeners []net.Listener
}

// newHTTPServer returns a server whose clients cannot hold on to it by being slow. The
// deadlines end when a connection becomes a WebSocket.
func newHTTPServer(h http.Handler, log *slog.Logger) *httpServer {
	visitors := &mux.Visitors{}
	return &httpServer{visitors: visitors, server: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnState:         visitors.State,
	}}
}

// listen binds addresses; with shared options TURN is spoken there too.
func (w *httpServer) listen(addrs []config.Address, next bool, shared *mux.Options) error {
	for _, a := range addrs {
		l, err := listenStream(a, next)
		if err != nil {
			return err
		}
		log := w.server.ErrorLog
		l = turnsrv.Patient(l, func(err error) { log.Printf("cannot accept a connection on %s: %v", a, err) })
		if shared != nil {
			o := *shared
			o.Visitors = w.visitors
			l = mux.New(l, o)
		}
		w.listeners = append(w.listeners, l)
	}
	return nil
}

// port is that of the first listener, 0 if there is none.
func (w *httpServer) port() int {
	if len(w.listeners) == 0 {
		return 0
	}
	if a, ok := w.listeners[0].Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// Run serves until ctx is done and returns when no request is being answered any
// more, or after a second.
func (w *httpServer) Run(ctx context.Context) error {
	failed := make(chan error, len(w.listeners))
	for _, l := range w.listeners {
		// Run owns it; closing the server below ends it.
		go func() { failed <- contain(func() error { return w.server.Serve(l) }) }()
	}
	running := len(w.listeners)
	var err error
	if running == 0 {
		<-ctx.Done()
	} else {
		select {
		case <-ctx.Done():
		case err = <-failed:
			running--
		}
	}
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if w.server.Shutdown(soon) != nil {
		w.server.Close()
	}
	for range running {
		<-failed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// addrs are the TCP addresses that the server listens on.
func (w *httpServer) addrs() (out []netip.AddrPort) {
	for _, l := range w.listeners {
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			at := a.AddrPort()
			out = append(out, netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()))
		}
	}
	return out
}

func (w *httpServer) close() {
	for _, l := range w.listeners {
		l.Close()
	}
}
