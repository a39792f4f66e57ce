package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/config"
	"rtcd/creds"
	"rtcd/webhook"
)

// verifier tells what a join token is worth: *creds.Tokens is one, *doorman the one that
// serves.
type verifier interface {
	Verify(token string, now time.Time) (creds.Claims, error)
}

// doorman asks, in this order, our own secrets, the keys of another issuer, and the
// operator's endpoint. What the first of them knows is not asked any further: a token of
// ours that has expired is that and nothing else.
type doorman struct {
	own  *creds.Tokens
	jwks atomic.Pointer[creds.JWKS] // nil: off
	hook *webhook.Joins
}

// Verify implements verifier.
func (d *doorman) Verify(token string, now time.Time) (creds.Claims, error) {
	claims, err := d.own.Verify(token, now)
	if j := d.jwks.Load(); j != nil && errors.Is(err, creds.ErrTokenInvalid) {
		claims, err = j.Verify(token, now)
	}
	if d.hook.Asks() && errors.Is(err, creds.ErrTokenInvalid) {
		claims, err = d.hook.Verify(token, now)
	}
	return claims, err
}

// newJWKS is signaling.jwks, nil for off. A file has to be there and good; an address may
// answer later.
func newJWKS(ctx context.Context, c *config.Loaded, now time.Time) (*creds.JWKS, error) {
	k := c.Signaling.JWKS
	if k.Source == "" {
		return nil, nil
	}
	source, file := k.Source, !strings.Contains(k.Source, "://")
	if file {
		source = c.Resolve("signaling.jwks.source", source)
	}
	j := creds.NewJWKS(creds.JWKSOptions{Source: source, Audience: k.Audience, Issuer: k.Issuer, Refresh: time.Duration(k.Refresh)})
	if file {
		return j, j.Refresh(ctx, now)
	}
	return j, nil
}

// newDoorman makes the endpoints' client and who decides about joins.
func (a *app) newDoorman(ctx context.Context) error {
	a.hooks = webhook.NewClient(a.secrets.webhook)
	a.door = &doorman{own: a.tokens, hook: webhook.NewJoins(a.hooks, a.log)}
	j, err := newJWKS(ctx, a.config, time.Now())
	if err != nil {
		return err
	}
	a.keepDoor(a.config, j)
	a.registry.MustRegister(a.door)
	return nil
}

// keepDoor puts the keys and the endpoint of a configuration in force.
func (a *app) keepDoor(c *config.Loaded, j *creds.JWKS) {
	a.door.jwks.Store(j)
	w := c.Signaling.Webhook
	a.door.hook.SetPolicy(webhook.JoinPolicy{Address: w.URL, Timeout: time.Duration(w.Timeout), Cache: time.Duration(w.Cache)})
}

// keysLook is how often it is looked whether keys are due.
const keysLook = 5 * time.Second

// runDoor keeps the keys of the other issuer new.
func (a *app) runDoor(ctx context.Context) error {
	defer a.hooks.Close()
	tick := time.NewTicker(keysLook)
	defer tick.Stop()
	failing := false
	for {
		if j := a.door.jwks.Load(); j != nil {
			err := j.Refresh(ctx, time.Now())
			if err != nil && ctx.Err() == nil {
				a.log.Error("the keys of join tokens cannot be fetched; those before stay in use", "keys", j.Keys(), "err", err)
				failing = true
			} else if failing && !j.Failing() {
				a.log.Info("the keys of join tokens are fetched again", "keys", j.Keys())
				failing = false
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

var (
	jwksKeys = prometheus.NewDesc("rtcd_jwks_keys",
		"Keys of join tokens of the other issuer; 0 also where there is none.", nil, nil)
	jwksFailures = prometheus.NewDesc("rtcd_jwks_refresh_failures_total",
		"How often the keys of join tokens could not be fetched.", nil, nil)
	joinAnswers = prometheus.NewDesc("rtcd_join_webhook_total",
		"Questions to the endpoint that decides who may join, by what they came to.", []string{"result"}, nil)
)

// Describe implements prometheus.Collector.
func (d *doorman) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(d, out) }

// Collect implements prometheus.Collector.
func (d *doorman) Collect(out chan<- prometheus.Metric) {
	keys, failures := 0, uint64(0)
	if j := d.jwks.Load(); j != nil {
		keys, failures = j.Keys(), j.Failures()
	}
	out <- prometheus.MustNewConstMetric(jwksKeys, prometheus.GaugeValue, float64(keys))
	out <- prometheus.MustNewConstMetric(jwksFailures, prometheus.CounterValue, float64(failures))
	for result, n := range d.hook.Answers() {
		out <- prometheus.MustNewConstMetric(joinAnswers, prometheus.CounterValue, float64(n), result)
	}
}
