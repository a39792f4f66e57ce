package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"rtcd/address"
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

// firstWait is how long the start waits for a name to be looked up.
const firstWait = 2 * time.Second

// firstExternals finds the addresses at the start. A name that cannot be looked up
// does not keep the rest from serving, and others are asked later.
func (a *app) firstExternals(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, firstWait)
	defer cancel()
	a.finder = address.NewFinder(address.Options{Lookup: a.lookup, Log: a.log})
	trial := a.finder.Try(ctx, wishOf(a.config))
	d := trial.Decision()
	if d.Err != nil && !errors.Is(d.Err, address.ErrNotYet) {
		return d.Err
	}
	a.finder.Use(trial)
	a.externals, a.degraded = externalsOf(d), d.Err
	if d.Err != nil {
		a.log.Warn("starting degraded: the address of relayed traffic cannot be looked up; trying again",
			"error", d.Err, "known", publicOf(a.externals))
	}
	a.noteLocked(d.Notes)
	return nil
}

// watchAddresses follows names, interfaces and what others say of our addresses.
func (a *app) watchAddresses(ctx context.Context) error {
	return a.finder.Run(ctx, a.addressesChanged)
}

// recheckExternals looks at everything again, due or not.
func (a *app) recheckExternals(ctx context.Context) {
	a.finder.Look(ctx, true)
	a.addressesChanged()
}

// addressesChanged puts in force what the finder has found. What is known stays while
// a name cannot be looked up, or the network is gone.
func (a *app) addressesChanged() {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.finder.Decision()
	found, was := externalsOf(d), a.degraded
	switch {
	case d.Err != nil && was == nil:
		a.log.Warn("the address of relayed traffic cannot be looked up; the last one stays",
			"error", d.Err, "known", publicOf(a.externals))
	case d.Err != nil:
		a.log.Debug("the address of relayed traffic still cannot be looked up", "error", d.Err)
	case was != nil:
		a.log.Info("the address of relayed traffic can be looked up again")
	}
	if onlyHere(found) && !onlyHere(a.externals) || d.Err != nil && !errors.Is(d.Err, address.ErrNotYet) {
		a.log.Debug("no network: the last address of relayed traffic stays")
		found = a.externals
	}
	a.noteLocked(d.Notes)
	a.setExternals(found, d.Err, false)
}

// noteLocked logs what has not been said before; the caller holds mu, once the app
// serves.
func (a *app) noteLocked(notes []string) {
	for _, n := range notes {
		if !slices.Contains(a.notes, n) {
			a.log.Warn("address of relayed traffic", "note", n)
		}
	}
	a.notes = notes
}

// setExternals puts the policy and the site in force that follow from the configuration
// and the addresses; the caller holds mu. Live allocations stay where they are.
func (a *app) setExternals(found []external, degraded error, renew bool) {
	moved := !slices.EqualFunc(a.externals, found, func(x, y external) bool { return x.RelayIP == y.RelayIP })
	a.degraded = degraded
	if moved {
		a.reloads.moves.Add(1)
		a.log.Info("address of relayed traffic has changed", "from", publicOf(a.externals), "to", publicOf(found), "because", reasonsOf(found))
	}
	a.externals = found // for other reasons, maybe
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
