package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// lookEvery is how often files are looked at. A change counts when it was there at two
// looks, so it is in force within two or three times as long.
const lookEvery = time.Second

// watchFiles takes up certificates and secrets when their files change.
func (a *app) watchFiles(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var secrets watched // nothing is known: the files may have changed since they were read
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if a.cert.file != nil {
			a.cert.file.look()
		}
		if secrets.changed(a.secretFiles()...) {
			a.takeSecrets(ctx)
		}
	}
}

func (a *app) secretFiles() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.secrets.files
}

// takeSecrets reads the files of secrets anew; the configuration file stays as it was
// read last, since nobody has said that it is ready.
func (a *app) takeSecrets(ctx context.Context) {
	a.mu.Lock()
	data := a.config.Data
	a.mu.Unlock()
	a.take(ctx, data, false) // the outcome is in the log
}

// How often turn.external_ip is looked at again: soon and then ever more rarely while
// a name cannot be looked up, else regularly.
const (
	retryFirst   = time.Second
	retryLast    = time.Minute
	recheckEvery = 30 * time.Second
)

// firstWait is how long the start waits for a name to be looked up.
const firstWait = 2 * time.Second

// firstExternals finds the addresses at the start. A name that cannot be looked up
// does not keep the rest from serving.
func (a *app) firstExternals(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, firstWait)
	defer cancel()
	found, err := resolveExternals(ctx, a.config.Turn.ExternalIP, a.lookup)
	if err != nil && !errors.Is(err, errLookup) {
		return err
	}
	a.externals, a.degraded = found, err
	if err != nil {
		a.log.Warn("starting degraded: the address of relayed traffic cannot be looked up; trying again",
			"error", err, "known", publicOf(found))
	}
	return nil
}

// watchAddresses follows names and interfaces whose addresses change.
func (a *app) watchAddresses(ctx context.Context) error {
	wait := retryFirst
	for {
		next := wait
		if a.degradedBy() == nil {
			wait, next = retryFirst, recheckEvery
		} else {
			wait = min(2*wait, retryLast)
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
			a.recheckExternals(ctx)
		}
	}
}

func (a *app) degradedBy() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.degraded
}

// recheckExternals looks again. What is known stays while a name cannot be looked up.
func (a *app) recheckExternals(ctx context.Context) {
	a.mu.Lock()
	list := a.config.Turn.ExternalIP
	a.mu.Unlock()
	found, err := resolveExternals(ctx, list, a.lookup) // it may take its time
	if ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(list, a.config.Turn.ExternalIP) {
		return // a reload was faster
	}
	was := a.degraded
	switch {
	case err == nil && onlyHere(found) && !onlyHere(a.externals):
		a.log.Debug("no network: the last address of relayed traffic stays")
	case err != nil:
		a.degraded = err
		if was == nil {
			a.log.Warn("the address of relayed traffic cannot be looked up; the last one stays",
				"error", err, "known", publicOf(a.externals))
		} else {
			a.log.Debug("the address of relayed traffic still cannot be looked up", "error", err)
		}
	default:
		if was != nil {
			a.log.Info("the address of relayed traffic can be looked up again")
		}
		a.setExternals(found, nil, false)
	}
}

// setExternals puts the policy and the site in force that follow from the configuration
// and the addresses; the caller holds mu. Live allocations stay where they are.
func (a *app) setExternals(found []external, degraded error, renew bool) {
	moved := !slices.EqualFunc(a.externals, found, func(x, y external) bool { return x.RelayIP == y.RelayIP })
	a.degraded = degraded
	if moved {
		a.reloads.moves.Add(1)
		a.log.Info("address of relayed traffic has changed", "from", publicOf(a.externals), "to", publicOf(found), "why", reasonsOf(found))
		a.externals = found
	}
	a.turn.SetPolicy(a.policy())
	a.putSite(renew || moved)
}

// onlyHere tells that nobody but this machine reaches the addresses.
func onlyHere(list []external) bool {
	return !slices.ContainsFunc(list, func(e external) bool { return !e.Local.IsLoopback() })
}

func publicOf(list []external) (out []string) {
	for _, e := range list {
		out = append(out, e.Public.String())
	}
	return out
}

func reasonsOf(list []external) string {
	var out []string
	for _, e := range list {
		out = append(out, e.Why)
	}
	return strings.Join(out, "; ")
}
