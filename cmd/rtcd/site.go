package main

import (
	"net/http"
	"slices"
	"time"

	"rtcd/signaling"
)

// site is all that answers requests and mints credentials by the configuration. It
// does not change: a reload puts another one in its place.
type site struct {
	minter *minter
	api    *api
	routes http.Handler
}

// newSite makes the site of the configuration and addresses in force.
func (a *app) newSite() *site {
	c := a.config
	m := &minter{
		keys: a.keys, relay: a.turn, log: a.log, issued: a.issued,
		ttl:      time.Duration(c.Turn.CredentialTTL),
		restrict: restricts(c, a.externals),
	}
	m.longest = m.ttl
	if before := a.now.Load(); before != nil {
		m.longest = max(m.longest, before.minter.longest)
	}
	stun, turn := iceURLs(c, a.endpoints(), a.externals)
	m.advertised = slices.Concat(stun, turn)
	m.stun, m.turn = a.tester.Usable(stun), a.tester.Usable(turn)
	api := newAPI(c, m, a.door, a.hub.Penalize, a.infoTest, a.desk)
	api.outcomes, api.bars = a.outcomes, a.hub.Bars
	return &site{m, api, api.routes(a.hub, a.dialects, a.pages)}
}

// minter is the one in force.
func (a *app) minter() *minter { return a.now.Load().minter }

// ServeHTTP serves the public site, as the configuration in force has it.
func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.now.Load().routes.ServeHTTP(w, r) }

// hubICE is the minter in force, for the hub.
type hubICE struct{ *app }

func (i hubICE) Mint(member string) signaling.ICEServers { return i.minter().Mint(member) }
func (i hubICE) Revoke(member string)                    { i.minter().Revoke(member) }

// origins are signaling.origins.
func (a *app) origins() []string {
	out := make([]string, len(a.config.Signaling.Origins))
	for i, o := range a.config.Signaling.Origins {
		out[i] = string(o)
	}
	return out
}

// putSite puts the site of what is in force now in place of the last one. Members hear
// of URLs that changed.
func (a *app) putSite(renew bool) {
	before, next := a.now.Load(), a.newSite()
	a.now.Store(next)
	if next.minter.restrict && (before == nil || !before.minter.restrict) {
		a.log.Warn("signaling.auth is none on a public address: everybody may join, so credentials only reach " +
			"this relay itself; set signaling.public: true to change that, or auth: token")
	}
	if before != nil && (renew || !slices.Equal(before.minter.turn, next.minter.turn) || !slices.Equal(before.minter.stun, next.minter.stun)) {
		a.hub.RenewICE()
	}
}
