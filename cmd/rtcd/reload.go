package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/accounting"
	"rtcd/address"
	"rtcd/config"
	"rtcd/creds"
	"rtcd/internal/supervisor"
)

// errRestart is why a reload is refused: keys that a running process cannot take anew.
type errRestart struct{ keys []string }

func (e errRestart) Error() string {
	verb := "needs"
	if len(e.keys) > 1 {
		verb = "need"
	}
	return fmt.Sprintf("%s %s a restart", strings.Join(e.keys, ", "), verb)
}

// reload takes the configuration anew, all of it or nothing, and returns what has
// changed. Nothing that is under way is dropped. The outcome is logged.
func (a *app) reload(ctx context.Context) ([]config.Change, error) {
	supervisor.Reloading()
	defer a.life.ready()
	return a.take(ctx, nil, true)
}

// hangup is what SIGHUP does.
func (a *app) hangup(ctx context.Context) { a.reload(ctx) } // the outcome is in the log

// take is reload. Unless somebody has asked, only secrets may have changed, and data are
// the file's contents as they are known.
func (a *app) take(ctx context.Context, data []byte, asked bool) ([]config.Change, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	changes, err := a.takeLocked(ctx, data, asked)
	a.reloads.failed.Store(err != nil)
	if err != nil {
		a.log.Error("reload refused; the old configuration stays", "error", err)
		return nil, err
	}
	if !asked && len(changes) == 0 {
		return nil, nil
	}
	a.reloads.at.Store(time.Now().Unix())
	told := make([]string, len(changes))
	for i, c := range changes {
		told[i] = c.String()
	}
	a.log.Info("configuration reloaded", "changed", told)
	return changes, nil
}

func (a *app) takeLocked(ctx context.Context, data []byte, asked bool) (_ []config.Change, err error) {
	c, err := a.load(data)
	if err != nil {
		return nil, err
	}
	changes := config.Diff(a.config, c)
	var restart errRestart
	for _, change := range changes {
		if !change.Live {
			restart.keys = append(restart.keys, change.Path)
		}
	}
	if len(restart.keys) > 0 {
		return nil, restart
	}
	next, err := a.prepare(ctx, c, changes)
	defer func() {
		if err != nil {
			a.discard(next)
		}
	}()
	if err == nil && asked && a.cert.file != nil { // else its own watch sees to it
		next.cert, err = a.cert.file.prepare(certFiles(c))
	}
	if err != nil {
		return nil, err
	}
	return a.commit(next, changes), nil
}

// prepared is a configuration with all that can fail done.
type prepared struct {
	config    *config.Loaded
	secrets   *secrets
	addresses *address.Trial // nil: as they are
	cert      *filePair      // nil: as it is
	books     *accounting.File
	jwks      *creds.JWKS // nil: none
}

// discard gives back what prepare opened for a reload that comes to nothing.
func (a *app) discard(p *prepared) {
	if p != nil && p.books != nil && p.books != a.ledger.File() {
		p.books.Close()
	}
}

// prepare does all that can fail, but for the certificate's files. It changes nothing.
func (a *app) prepare(ctx context.Context, c *config.Loaded, changes []config.Change) (*prepared, error) {
	p := &prepared{config: c}
	var err error
	if p.secrets, err = loadSecrets(c); err != nil {
		return nil, err
	}
	if _, err = p.secrets.keys(realm(c)); err != nil {
		return nil, err
	}
	if _, err = p.secrets.tokens(); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(wishOf(a.config), wishOf(c)) {
		trial := a.finder.Try(ctx, wishOf(c))
		if err := trial.Decision().Err; err != nil {
			return nil, err
		}
		p.addresses = &trial
	}
	p.jwks = a.door.jwks.Load()
	if c.Signaling.JWKS != a.config.Signaling.JWKS {
		if p.jwks, err = newJWKS(ctx, c, time.Now()); err != nil {
			return nil, err
		}
	}
	if p.books, err = openBooks(c, a.ledger.File()); err != nil {
		return nil, err
	}
	return p, nil
}

// commit puts it in force. It cannot fail.
func (a *app) commit(p *prepared, changes []config.Change) []config.Change {
	if p.cert != nil && a.cert.file.use(p.cert) && !has(changes, "tls.cert_file") {
		changes = append(changes, config.Change{Path: "tls.cert_file", Old: "the certificate", New: "another one"})
	}
	renew := !slices.Equal(a.secrets.turn, p.secrets.turn)
	for path, list := range map[string][2][]string{
		"turn.secrets":            {a.secrets.turn, p.secrets.turn},
		"signaling.token_secrets": {a.secrets.token, p.secrets.token},
		"webhooks.secrets":        {a.secrets.webhook, p.secrets.webhook},
	} {
		if !slices.Equal(list[0], list[1]) && !has(changes, path) { // in the state directory
			changes = append(changes, config.Change{Path: path, Old: "********", New: "********"})
		}
	}
	if err := errors.Join(a.keys.SetSecrets(p.secrets.turn), a.tokens.SetSecrets(p.secrets.token)); err != nil {
		panic(err) // prepare has tried them
	}
	a.keys.SetRevoked(p.secrets.revoked)
	for _, user := range p.secrets.revoked {
		if n := a.turn.KillUser(user, "revoked"); n > 0 {
			a.log.Info("allocations of a revoked user ended", "user", user, "allocations", n)
		}
	}
	a.config, a.secrets = p.config, p.secrets
	if has(changes, "log.level") {
		a.level.Set(logLevel(a.config.Log.Level))
	}
	a.life.set(a.config.Drain)
	a.keepBooks(a.config, p.books)
	a.hooks.SetSecrets(p.secrets.webhook)
	a.keepDoor(a.config, p.jwks)
	a.hub.SetOrigins(a.origins())
	a.hub.SetMembers(hubLimits(a.config).Members)
	a.hub.SetStripHostCandidates(a.config.Signaling.StripHostCandidates)
	found, degraded := a.externals, a.degraded
	if p.addresses != nil {
		a.finder.Use(*p.addresses)
		d := a.finder.Decision()
		found, degraded = externalsOf(d), d.Err
		a.noteLocked(d.Notes)
	}
	a.setExternals(found, degraded, renew)
	a.mapper.Set(a.mappedPorts())
	return changes
}

func has(changes []config.Change, path string) bool {
	return slices.ContainsFunc(changes, func(c config.Change) bool { return c.Path == path })
}

// reloads tells Prometheus how the last reload went; before the first one, the start
// counts.
type reloads struct {
	failed atomic.Bool
	at     atomic.Int64 // Unix seconds of the last that went well; 0 = none has
	moves  atomic.Uint64
}

var (
	reloadOK = prometheus.NewDesc("rtcd_config_last_reload_successful",
		"1 if the last reload of the configuration was applied, or there was none.", nil, nil)
	reloadAt = prometheus.NewDesc("rtcd_config_last_reload_success_timestamp_seconds",
		"When the last reload was applied, in Unix seconds; 0 if none was.", nil, nil)
	addressMoves = prometheus.NewDesc("rtcd_external_address_changes_total",
		"How often the addresses of relayed traffic have changed.", nil, nil)
)

// Describe implements prometheus.Collector.
func (r *reloads) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(r, out) }

// Collect implements prometheus.Collector.
func (r *reloads) Collect(out chan<- prometheus.Metric) {
	good := 1.0
	if r.failed.Load() {
		good = 0
	}
	out <- prometheus.MustNewConstMetric(reloadOK, prometheus.GaugeValue, good)
	out <- prometheus.MustNewConstMetric(reloadAt, prometheus.GaugeValue, float64(r.at.Load()))
	out <- prometheus.MustNewConstMetric(addressMoves, prometheus.CounterValue, float64(r.moves.Load()))
}
