package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rtcd/config"
	"rtcd/internal/pulse"
	"rtcd/internal/supervisor"
	"rtcd/signaling"
	"rtcd/turnsrv/relay"
)

// pulseLimit is how long /healthz waits for the own listeners to answer.
const pulseLimit = 5 * time.Second

// pulse is what a living rtcd does, asked through its own sockets: the relay answers
// Bindings on each of its addresses, the hub answers a WebSocket.
func (a *app) pulse() (checks []supervisor.Check) {
	add := func(name string, do func(context.Context) error) {
		checks = append(checks, supervisor.Check{Name: name, Do: func(ctx context.Context) error {
			err := do(ctx)
			var unable pulse.Unable
			if errors.As(err, &unable) {
				a.log.Debug("cannot see whether it lives", "what", name, "error", err)
				return nil // a restart would cost the calls, and not help
			}
			return err
		}})
	}
	network, listeners := "udp", a.turn.Addrs(relay.UDP)
	if len(listeners) == 0 {
		network, listeners = "tcp", a.turn.Addrs(relay.TCP)
	}
	for _, at := range listeners {
		add("relay", func(ctx context.Context) error {
			return pulse.Binding(ctx, network, at, min(4*runtime.GOMAXPROCS(0), 32), a.proxies.Dial) // so that it meets every worker
		})
	}
	if site, ok := a.ownSite(); ok {
		add("hub", func(ctx context.Context) error { return pulse.WebSocket(ctx, site, "/ws", signaling.Subprotocol) })
	}
	return checks
}

// ownSite is where the pages and the hub are for this process.
func (a *app) ownSite() (pulse.Site, bool) {
	a.mu.Lock()
	name := a.config.Domain
	a.mu.Unlock()
	if _, err := netip.ParseAddr(name); err == nil {
		name = ""
	}
	for _, s := range []*httpServer{a.https, a.http} {
		if addrs := s.addrs(); len(addrs) > 0 {
			return pulse.Site{Addr: addrs[0], TLS: s == a.https, Name: name, Dial: a.proxies.Dial}, true
		}
	}
	return pulse.Site{}, false
}

// statusLine is what the service manager shows.
func (a *app) statusLine() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	line := "serving " + cmp.Or(a.siteURL(), "no pages")
	for _, e := range a.externals {
		line += ", relaying from " + e.Public.String()
	}
	if a.reloads.failed.Load() {
		line += "; the last reload was refused, see the log"
	}
	return line
}

// runtimeSocket is where the admin endpoint listens beside listen.admin when a service
// manager has made a directory for it, "" if none has.
func runtimeSocket() config.Address {
	dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":")
	if dir == "" {
		return ""
	}
	return config.Address("unix:" + filepath.Join(dir, "admin.sock"))
}

// vitals are the questions of service managers and container runtimes to a running rtcd.
type vitals struct{ health, ready bool }

func (v *vitals) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&v.health, "health", false, "only ask the rtcd that runs here whether relay and hub answer")
	cmd.Flags().BoolVar(&v.ready, "ready", false, "only ask the rtcd that runs here whether it takes new clients")
}

func (v *vitals) asked() bool { return v.health || v.ready }

// report asks and prints the answer; its error is a bad one.
func (v *vitals) report(cmd *cobra.Command, flags configFlags) error {
	if v.health && v.ready {
		return usageError{errors.New("want one of --health and --ready")}
	}
	path := "/readyz"
	if v.health {
		path = "/healthz"
	}
	f := adminFlags{configFlags: flags}
	target, err := f.target()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*pulseLimit)
	defer cancel()
	client := adminClient(target)
	answer, err := ask(ctx, client, http.MethodGet, path, "", nil)
	if err != nil {
		return fmt.Errorf("no rtcd answers at %s: %w", target, err)
	}
	defer answer.Body.Close()
	line, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(line)))
	}
	_, err = cmd.OutOrStdout().Write(line)
	return err
}
