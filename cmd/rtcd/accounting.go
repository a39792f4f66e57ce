package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/accounting"
	"rtcd/config"
	"rtcd/creds"
	"rtcd/turnsrv/relay"
	"rtcd/webhook"
)

// booksFile is accounting.file, "" for none.
func booksFile(c *config.Loaded) (string, error) {
	if c.Accounting.File != config.AccountingAuto {
		return c.Resolve("accounting.file", c.Accounting.File), nil
	}
	dir, err := stateDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "accounting", "accounting.jsonl"), nil
}

// openBooks opens the file of a configuration, unless it is the one that is open; nil for
// none.
func openBooks(c *config.Loaded, open *accounting.File) (*accounting.File, error) {
	name, err := booksFile(c)
	switch {
	case err != nil || name == "":
		return nil, err
	case open != nil && open.Path() == filepath.Clean(name):
		return open, nil
	}
	f, err := accounting.OpenFile(name, keeping(c))
	if err != nil {
		return nil, fmt.Errorf("accounting.file: %w (\"\" keeps no accounts)", err)
	}
	return f, nil
}

func keeping(c *config.Loaded) accounting.Keeping {
	return accounting.Keeping{Age: time.Duration(c.Accounting.Keep), Size: int64(c.Accounting.Size)}
}

// newLedger opens the books; see accounting.
func (a *app) newLedger() error {
	a.records = webhook.NewQueue(webhook.QueueOptions{
		Client: a.hooks, Log: a.log, Dropped: func(n int) { a.ledger.Lost("webhook", n) },
	})
	a.ledger = accounting.New(accounting.Options{Live: a.liveRecords, Place: a.place, Also: a.records.Put, Log: a.log})
	a.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "rtcd_accounting_webhook_waiting", Help: "Accounting records that the webhook has not taken yet.",
	}, func() float64 { return float64(a.records.Len()) }))
	a.registry.MustRegister(a.ledger.Collector())
	f, err := openBooks(a.config, nil)
	if err != nil {
		return err
	}
	a.keepBooks(a.config, f)
	return nil
}

// keepBooks puts the file and the rest of a configuration in force.
func (a *app) keepBooks(c *config.Loaded, f *accounting.File) {
	if f != nil {
		f.Keep(keeping(c))
	}
	a.ledger.SetFile(f)
	a.records.SetAddress(c.Accounting.Webhook)
	a.ledger.SetInterim(time.Duration(c.Accounting.Interim))
}

// runBooks ends with the last record, which comes after ctx, and what can still be said of
// it to the webhook.
func (a *app) runBooks(ctx context.Context) error {
	defer a.hooks.Close()
	later, end := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	// Owned here; end ends it.
	go func() { done <- a.life.keep(later, service{name: "accounting webhook", run: a.records.Run}) }()
	err := a.life.keep(context.WithoutCancel(ctx), service{name: "accounting", run: a.ledger.Run})
	end()
	return errors.Join(err, <-done)
}

// tell is the relay's OnEvent: it must not wait.
func (a *app) tell(e relay.Event) {
	a.onEvent(e)
	switch e.Kind {
	case relay.Allocated:
		a.ledger.Put(a.record(accounting.Start, e))
	case relay.Closed:
		a.ledger.Put(a.record(accounting.Stop, e))
	}
}

// liveRecords are interim records of all live allocations.
func (a *app) liveRecords() []accounting.Record {
	var out []accounting.Record
	for _, i := range a.turn.Allocations() {
		if i.User != a.ownUser { // the self-test's
			out = append(out, a.record(accounting.Interim, relay.Event{Info: i}))
		}
	}
	return out
}

func (a *app) record(kind accounting.Kind, e relay.Event) accounting.Record {
	i, now := e.Info, time.Now()
	started := a.turn.Start().Add(i.Created)
	return accounting.Record{
		Event: kind, Time: now.UTC(),
		ID: fmt.Sprintf("%x-%d", a.turn.Start().UnixMilli(), i.ID), Allocation: i.ID, User: i.User,
		Client: i.Client, Transport: i.Transport.String(), Relay: i.Relays,
		Started: started.Round(0).UTC(), Duration: now.Sub(started).Round(time.Millisecond).Seconds(),
		Peers:     i.Peers,
		SentBytes: i.SentBytes, SentPackets: i.SentPackets,
		ReceivedBytes: i.ReceivedBytes, ReceivedPackets: i.ReceivedPackets,
		Reason: e.Reason,
	}
}

// place is where the member of the hub is whose credentials have this user.
func (a *app) place(user string) accounting.Place {
	id := strings.TrimPrefix(user, creds.PrefixRestricted)
	w, ok := a.hub.Whereabouts(id)
	if !ok {
		return accounting.Place{}
	}
	return accounting.Place{Member: id, Name: w.User, Tenant: w.Tenant, Rooms: w.Rooms}
}
