package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"rtcd/accounting"
	"rtcd/address"
	"rtcd/config"
	"rtcd/creds"
	"rtcd/diagnosis"
	"rtcd/internal/supervisor"
	"rtcd/mux"
	"rtcd/portmap"
	"rtcd/selftest"
	"rtcd/signaling"
	"rtcd/turnsrv"
	"rtcd/turnsrv/relay"
	"rtcd/turnsrv/udp"
	"rtcd/web"
	"rtcd/webhook"
)

func serveCommand() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run relay, hub and pages in the foreground",
		Long: "Run relay, hub and pages in the foreground. Without a configuration file it starts with\n" +
			"defaults and generated secrets, on free ports, and prints a link to try at once.\n\n" +
			"SIGTERM drains: live calls go on for up to drain.timeout. SIGINT ends at once. SIGHUP reads\n" +
			"the configuration anew.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.load()
			if err != nil {
				return err
			}
			collectSoon()
			level, dropped := new(slog.LevelVar), new(atomic.Uint64)
			out := lossyWriter{cmd.ErrOrStderr(), dropped}
			a, err := newApp(cmd.Context(), setup{
				config: c, log: newLogger(c, level, out), level: level, dropped: dropped, lookup: lookup,
				load: func(data []byte) (*config.Loaded, error) { return flags.loadWith(c.File, data) },
			})
			if err != nil {
				return err
			}
			a.welcome(cmd.OutOrStdout())
			return a.run()
		},
	}
	flags.add(cmd)
	return cmd
}

// collectSoon keeps less garbage than the runtime would, unless GOGC says how much. With many
// idle sessions most of the memory beside what lives is garbage. The relay makes none for
// packets; the hub makes some for each message, and may lose a few percent of its speed.
func collectSoon() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(75)
	}
}

// setup is what an app is made from.
type setup struct {
	config *config.Loaded
	log    *slog.Logger
	level  *slog.LevelVar // of log
	lookup lookupFunc     // of names in turn.external_ip

	dropped *atomic.Uint64 // lines that did not get into the log; may be nil

	// load loads the configuration anew, from data if that is not nil.
	load func(data []byte) (*config.Loaded, error)
}

// app is one running rtcd. When newApp returns it, everything listens and nothing
// is served yet.
type app struct {
	setup
	registry *prometheus.Registry
	finder   *address.Finder
	mapper   *portmap.Mapper
	reloads  reloads
	issued   *prometheus.CounterVec // credentials, by shape
	outcomes *outcomes

	cert     certSource
	proxies  *mux.Proxies // of listen.proxy_protocol; nil = none
	keys     *creds.Keys
	tokens   *creds.Tokens
	door     *doorman
	hooks    *webhook.Client // to the operator's endpoints
	ownUser  string          // of the self-test's credentials
	tester   *selftest.Tester
	desk     *diagnosis.Desk
	turn     *turnsrv.Server
	hub      *signaling.Hub
	dialects *dialects
	pages    http.Handler
	events   *eventLog
	ledger   *accounting.Ledger
	records  *webhook.Queue // of the ledger
	https    *httpServer
	http     *httpServer
	admin    *httpServer
	life     *lifecycle

	now atomic.Pointer[site] // replaced under mu

	mu        sync.Mutex // guards the following, and setup.config, once the app serves
	externals []external
	degraded  error    // why externals are not all that they should be
	notes     []string // what else there is to know about them
	secrets   *secrets
}

// newApp makes all parts and binds every socket, so that a taken port shows before
// anybody is served.
func newApp(ctx context.Context, from setup) (_ *app, err error) {
	c, log := from.config, from.log
	for _, w := range c.Warnings {
		log.Warn(w)
	}
	if from.dropped == nil {
		from.dropped = new(atomic.Uint64)
	}
	a := &app{setup: from, registry: newRegistry(), issued: newIssued(), events: newEventLog(log, from.dropped), mapper: portmap.New(portmap.Options{Log: log}), pages: web.Handler(web.Options{})}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if err := a.firstExternals(ctx); err != nil {
		return nil, err
	}
	if a.cert, err = newCertSource(c, a.externals, log); err != nil {
		return nil, err
	}
	a.desk = diagnosis.New()
	a.ownUser, a.tester = newOwnUser(), a.newSelfTest()
	a.outcomes = newOutcomes()
	a.registry.MustRegister(a.outcomes.counter, a.tester, a.cert, &a.reloads, a.issued, logDropped(from.dropped))
	s, err := loadSecrets(c)
	if err != nil {
		return nil, err
	}
	a.secrets = s
	if a.keys, err = s.keys(realm(c)); err != nil {
		return nil, err
	}
	if a.tokens, err = s.tokens(); err != nil {
		return nil, err
	}
	if err := a.newDoorman(ctx); err != nil {
		return nil, err
	}
	a.proxies = mux.NewProxies(networks(c.Listen.ProxyProtocol), log)
	if err := a.listenHTTPS(); err != nil {
		return nil, err
	}
	master, err := masterKey()
	if err != nil {
		return nil, err
	}
	if err := a.listenTurn(ctx, creds.Derive(master, creds.PurposeNonce, 32)); err != nil {
		return nil, err
	}
	if err := a.newHub(creds.Derive(master, creds.PurposeResume, 32)); err != nil {
		return nil, err
	}
	if err := a.newLedger(); err != nil {
		return nil, err
	}
	return a, a.listenHTTP()
}

// nextFree tells whether a taken port is passed over for the next free one: only
// where nobody chose it.
func (a *app) nextFree(path string) bool {
	_, chosen := a.config.From[path]
	return a.config.File == "" && !chosen
}

// listenTurn binds the relay's listeners.
func (a *app) listenTurn(ctx context.Context, nonceKey []byte) error {
	c := a.config
	for try := 0; ; try++ {
		var listeners []turnsrv.Listener
		for _, addr := range c.Listen.Turn {
			addr = shifted(addr, try)
			listeners = append(listeners,
				turnsrv.Listener{Transport: relay.UDP, Addr: string(addr)},
				turnsrv.Listener{Transport: relay.TCP, Addr: string(addr)})
		}
		for i, addr := range c.Listen.HTTPS {
			listeners = append(listeners, turnsrv.Listener{Transport: relay.UDP, Addr: withPortOf(addr, a.https.listeners[i])})
		}
		for _, addr := range c.Listen.Turns {
			listeners = append(listeners,
				turnsrv.Listener{Transport: relay.TLS, Addr: string(addr), TLS: a.cert.tlsConfig()},
				turnsrv.Listener{Transport: relay.DTLS, Addr: string(addr), TLS: a.cert.tlsConfig()})
		}
		o := turnsrv.Options{
			Listeners: listeners, Realm: realm(c), Keys: turnsrv.Credentials(a.keys), NonceKey: nonceKey,
			Policy: policyOf(c, a.externals), Limits: connectionLimits(c),
			UDP: udpOptions(c), Own: a.ownUser,
			Logger: a.log, OnEvent: a.tell, OnTrace: a.desk.Trace,
		}
		if a.proxies != nil {
			o.Proxies = a.proxies
		}
		srv, err := turnsrv.New(o)
		if err != nil {
			return err
		}
		err = srv.Listen(ctx)
		if err == nil {
			a.turn = srv
			a.desk.SetRelay(srv)
			a.registry.MustRegister(srv.Collector())
			return nil
		}
		srv.Close()
		if !isTaken(err) || !a.nextFree("listen.turn") || try >= portTries {
			return fmt.Errorf("%w%s", err, heldByAny(listeners))
		}
	}
}

// withPortOf is an address that was bound, with its port if any would do.
func withPortOf(a config.Address, l net.Listener) string {
	host, _, _ := net.SplitHostPort(string(a)) // it was bound
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return net.JoinHostPort(host, port)
}

// udpOptions is turn.udp and turn.coalesce.
func udpOptions(c *config.Loaded) udp.Options {
	u := c.Turn.UDP
	return udp.Options{Plain: !u.Batch, NoGRO: !u.GRO, NoGSO: !u.GSO, Coalesce: time.Duration(c.Turn.Coalesce)}
}

// shifted is an address n ports further on.
func shifted(a config.Address, n int) config.Address {
	host, port, err := net.SplitHostPort(string(a))
	if first, e := strconv.Atoi(port); err == nil && e == nil && first > 0 {
		return config.Address(net.JoinHostPort(host, strconv.Itoa(first+n)))
	}
	return a
}

// heldByAny tells who has the ports of listeners that could not be bound.
func heldByAny(listeners []turnsrv.Listener) string {
	for _, l := range listeners {
		network := "tcp"
		if l.Transport == relay.UDP || l.Transport == relay.DTLS {
			network = "udp"
		}
		if who := heldBy(network, int(config.Address(l.Addr).AddrPort().Port())); who != "" {
			return fmt.Sprintf(" (%s port held%s)", network, who)
		}
	}
	return ""
}

// newHub makes the hub and what joins it to the relay.
func (a *app) newHub(resumeKey []byte) (err error) {
	c := a.config
	a.hub, err = signaling.New(signaling.Options{
		Auth: a.door, Open: c.Signaling.Auth == config.AuthNone,
		Origins: a.origins(), ICE: hubICE{a}, Key: resumeKey, StripHostCandidates: c.Signaling.StripHostCandidates,
		Limits: hubLimits(c), Log: a.log, Metrics: a.registry, Address: clientAddress(c.Listen.TrustedProxies),
	})
	if err != nil {
		return err
	}
	if a.dialects, err = newDialects(c, a.hub, a.registry); err != nil {
		return err
	}
	return nil
}

// ports are those that clients reach a transport on.
func (a *app) ports(t relay.Transport) (out []uint16) {
	for _, addr := range a.turn.Addrs(t) {
		out = appendNew(out, addr.Port())
	}
	return out
}

// restricts tells whether members' credentials must only reach this relay itself:
// strangers on the internet could otherwise use it to reach anything.
func restricts(c *config.Loaded, addrs []external) bool {
	if c.Signaling.Auth != config.AuthNone || c.Signaling.Public {
		return false
	}
	for _, a := range addrs {
		if isPublic(a.Public) {
			return true
		}
	}
	return false
}

// listenHTTPS binds the site.
func (a *app) listenHTTPS() error {
	a.https = newHTTPServer(a, a.log)
	return a.https.listen(a.config.Listen.HTTPS, false, a.shared("https", a.cert.webTLS()))
}

// shared is how HTTP shares the port of a listener with TURN.
func (a *app) shared(listener string, tlsConfig *tls.Config) *mux.Options {
	counts := mux.NewCounts(listener)
	a.registry.MustRegister(counts)
	return &mux.Options{
		TLS: turnsrv.NotesServer(tlsConfig), UnderTLS: turnsrv.UnderTLS,
		Failed: func(under net.Conn, err error) { a.turn.Failed(under, err) }, Proxies: a.proxies, Logger: a.log, Counts: counts,
		TURN: func(c mux.Client) { a.turn.Take(turnsrv.Handed(c)) },
	}
}

// listenHTTP binds the plain site and the admin endpoint.
func (a *app) listenHTTP() error {
	c := a.config
	plain := http.Handler(a)
	if port := a.https.port(); port != 0 {
		plain = redirect(port)
	}
	a.http = newHTTPServer(a.cert.challenges(plain), a.log)
	if err := a.http.listen(c.Listen.HTTP, a.nextFree("listen.http"), a.shared("http", nil)); err != nil {
		return err
	}
	k := newKeeper(a.log)
	a.registry.MustRegister(k.panics)
	a.life = newLifecycle(a.dialects, a.turn, k, a.hangup)
	a.life.status = a.statusLine
	a.life.set(c.Drain)
	token, err := adminToken()
	if err != nil {
		return err
	}
	a.admin = newHTTPServer(adminRoutes(a, token), a.log)
	a.admin.server.WriteTimeout = 0 // profiles take as long as they are asked to
	if err := a.admin.listen(c.Listen.Admin, a.nextFree("listen.admin"), nil); err != nil {
		return err
	}
	if socket := runtimeSocket(); socket != "" && !slices.Contains(c.Listen.Admin, socket) {
		if err := a.admin.listen([]config.Address{socket}, false, nil); err != nil {
			return err
		}
	}
	a.turn.SetPolicy(a.policy())
	a.mapper.Set(a.mappedPorts())
	a.registry.MustRegister(nodeState{a})
	a.putSite(false)
	return nil
}

// redirect sends everybody to https.
func redirect(port int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		target := url.URL{Scheme: "https", Host: hostPort(host, port, 443), Path: r.URL.Path, RawQuery: r.URL.RawQuery}
		http.Redirect(w, r, target.String(), http.StatusPermanentRedirect)
	})
}

// hostPort leaves out the port that the scheme implies.
func hostPort(host string, port, implied int) string {
	at := net.JoinHostPort(trimBrackets(host), strconv.Itoa(port))
	if port == implied {
		at = at[:len(at)-len(strconv.Itoa(port))-1]
	}
	return at
}

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}

// close gives back what newApp bound before it failed.
func (a *app) close() {
	for _, s := range []*httpServer{a.https, a.http, a.admin} {
		if s != nil {
			s.close()
		}
	}
	a.cert.close()
	if a.turn != nil {
		a.turn.Close()
	}
	if a.ledger != nil {
		a.ledger.SetFile(nil)
	}
	if a.dialects != nil {
		a.dialects.scripts.close()
	}
}

// siteURL is where people find the pages; "" if they are off.
func (a *app) siteURL() string { return a.siteAt(hosts(a.config, a.externals)[0]) }

// localURL is where the pages are for this machine, by the name that browsers trust
// with camera and microphone even without https.
func (a *app) localURL() string {
	for _, s := range []*httpServer{a.https, a.http} {
		if s.port() == 0 {
			continue
		}
		at := s.listeners[0].Addr().(*net.TCPAddr).IP
		if at.IsUnspecified() || at.IsLoopback() {
			return a.siteAt("localhost")
		}
		return a.siteAt(at.String())
	}
	return ""
}

func (a *app) siteAt(host string) string {
	if port := a.https.port(); port != 0 {
		return "https://" + hostPort(host, port, 443)
	}
	if port := a.http.port(); port != 0 {
		return "http://" + hostPort(host, port, 80)
	}
	return ""
}

// tryRoom is the room of the link that is printed where there is no configuration.
const tryRoom = "lobby"

// welcome tells people where things are. The join link carries a token, so it goes
// to standard output only, never to the log, and only where there is no
// configuration file.
func (a *app) welcome(out io.Writer) {
	site := a.siteURL()
	if a.config.File != "" {
		if site != "" {
			fmt.Fprintf(out, "rtcd serves %s\nA link for a room: rtcd token --link --room NAME\n", site)
		}
		a.welcomeAddresses(out)
		return
	}
	if local := a.localURL(); local != "" {
		link, err := joinLink(local, a.config.Signaling.Auth, a.tokens, creds.Claims{
			Room: tryRoom, Expires: time.Now().Add(24 * time.Hour),
		})
		if err == nil {
			fmt.Fprintf(out, "rtcd is ready. Open this link in two browser windows:\n\n  %s\n\n", link)
		}
		fmt.Fprintf(out, "  pages  %s\n", site)
	}
	for _, u := range a.minter().turn {
		fmt.Fprintf(out, "  relay  %s\n", u)
	}
	a.welcomeAddresses(out)
	for _, at := range a.admin.addrs() {
		fmt.Fprintf(out, "  admin  http://%s/metrics\n", at)
	}
	fmt.Fprintln(out, "\nStop it with Ctrl-C. For a server of your own: rtcd init --domain your.name")
}

// welcomeAddresses tells what is advertised, and why.
func (a *app) welcomeAddresses(out io.Writer) {
	for _, e := range a.externals {
		fmt.Fprintf(out, "  relayed traffic comes from %s (%s), ports %s\n", e.Public, e.Why, a.config.Turn.RelayPorts)
	}
	if a.finder.Decision().Asking {
		fmt.Fprintln(out, "  others are asked for the public address; the log and rtcd status tell what they say")
	}
}

// joinLink leads into a room. The fragment is not sent to any server.
func joinLink(site string, auth config.Auth, tokens *creds.Tokens, c creds.Claims) (string, error) {
	if auth == config.AuthNone {
		return site + "/apps/call#room=" + url.QueryEscape(c.Room), nil
	}
	token, err := tokens.Sign(c)
	return site + "/apps/call#token=" + token, err
}

// run serves until a signal ends it.
func (a *app) run() error {
	for _, e := range a.externals {
		a.log.Info("address of relayed traffic", "address", e.Public.String(), "local", e.Local.String(), "because", e.Why)
	}
	a.warnOfLocal()
	a.log.Info("serving", "version", versionString(), "site", a.siteURL(), "tls", string(a.config.TLSMode()),
		"relay", a.minter().turn, "relay_ports", a.config.Turn.RelayPorts.String())
	if len(a.externals) == 0 && a.degraded == nil {
		a.log.Warn("no address for relayed traffic is known; set turn.external_ip")
	}
	err := a.life.run(a.services()...)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// warnOfLocal tells who is meant to be reached from everywhere that nobody outside
// reaches the address that is known.
func (a *app) warnOfLocal() {
	named := config.IsPublicName(a.config.Domain)
	if addr, err := netip.ParseAddr(a.config.Domain); err == nil {
		named = isPublic(addr)
	}
	for _, e := range a.externals {
		if named && e.Source == address.Local && e.Public.Is4() && !a.config.Turn.Discovery.Enabled {
			a.log.Warn("nobody outside this network reaches the address of relayed traffic; set turn.external_ip, "+
				"or turn.discovery.enabled: true to find the public one", "address", e.Public.String())
		}
	}
}

// runTurn ends the event log and the books after the relay's last event.
func (a *app) runTurn(ctx context.Context) error {
	defer a.ledger.Close()
	defer close(a.events.queue)
	return a.turn.Run(ctx)
}

// services is all that runs while the process does.
func (a *app) services() []service {
	return []service{
		{name: "relay", run: a.runTurn, vital: true},
		{name: "hub", run: a.runHub, vital: true},
		{name: "https", run: a.https.Run, vital: true},
		{name: "http", run: a.http.Run, vital: true},
		{name: "admin endpoint", run: a.admin.Run, vital: true},
		{name: "keys of join tokens", run: a.runDoor},
		{name: "accounting", run: a.runBooks},
		{name: "log of events", run: a.runEvents},
		{name: "watch of files", run: a.watchFiles},
		{name: "certificate", run: a.runCertificate},
		{name: "addresses", run: a.watchAddresses},
		{name: "router", run: a.runMapper},
		{name: "watchdog", run: (&supervisor.Watchdog{Checks: a.pulse, Log: a.log}).Run},
		{name: "self-test", run: a.tester.Run},
		{name: "checks", run: a.desk.Run},
	}
}

// runEvents ends after the relay's last event, which comes after ctx.
func (a *app) runEvents(ctx context.Context) error {
	return a.life.keep(context.WithoutCancel(ctx), service{name: "log of events", run: a.events.Run})
}
