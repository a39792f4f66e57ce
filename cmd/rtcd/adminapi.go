package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"rtcd/address"
	"rtcd/config"
	"rtcd/signaling"
	"rtcd/turnsrv/relay"
)

// States of the process, as /readyz tells them.
const (
	stateReady    = "ready"
	stateDraining = "draining"
	stateNoRelay  = "no address for relayed traffic is known"
	stateNoCert   = "there is no certificate, or it has expired: see rtcd check"
	stateBroken   = "no TURN URL passes the self-test: see rtcd status"
)

// state is what stands in the way of sending somebody here, or that nothing does. That
// all listeners are bound needs no look: nothing is served before.
func (a *app) state() string {
	switch {
	case a.life.draining.Load():
		return stateDraining
	case len(a.turn.Relays()) == 0:
		return stateNoRelay
	case !a.cert.valid(time.Now()):
		return stateNoCert
	}
	if a.tester.Broken() {
		return stateBroken
	}
	return stateReady
}

// adminStatus answers GET /api/v1/status.
type adminStatus struct {
	Version     string         `json:"version"`
	PID         int            `json:"pid"`
	Started     time.Time      `json:"started"`
	State       string         `json:"state"`
	Config      string         `json:"config"` // the file, "" for none
	LogLevel    string         `json:"log_level"`
	Reload      adminReload    `json:"reload"`
	URLs        []string       `json:"urls"`      // advertised
	SelfTest    []adminURL     `json:"self_test"` // what their tests have shown
	Addresses   []adminAddress `json:"addresses"`
	Degraded    string         `json:"degraded,omitempty"`
	Discovery   *adminAsked    `json:"discovery,omitempty"` // what others say of the address, where they are asked
	PortMapping *adminMapping  `json:"port_mapping,omitempty"`
	Notes       []string       `json:"notes,omitempty"` // on the addresses
	TLS         config.TLSMode `json:"tls"`
	Expires     *time.Time     `json:"certificate_expires,omitempty"`
	Books       string         `json:"books"` // the newest file of accounting, "" for none
	Allocations int            `json:"allocations"`
	Connections map[string]int `json:"connections"` // of TURN, by transport
	Rooms       int            `json:"rooms"`
	Members     int            `json:"members"`
}

type adminReload struct {
	OK bool       `json:"ok"`           // the last one
	At *time.Time `json:"at,omitempty"` // of the last that was applied
}

type adminAddress struct {
	Public netip.Addr     `json:"public"`
	Local  netip.Addr     `json:"local"`
	Source address.Source `json:"source"`
	Why    string         `json:"why"`
}

// adminAsked is who was asked for the public address, and what each said.
type adminAsked struct {
	Claims []adminClaim `json:"claims"`
	Silent []string     `json:"silent"` // who could not tell, and why
}

type adminClaim struct {
	Source  address.Source `json:"source"`
	By      string         `json:"by"`
	Address netip.Addr     `json:"address"`
}

// adminAllocation is one of GET /api/v1/allocations.
type adminAllocation struct {
	ID          uint64           `json:"id"`
	User        string           `json:"user"`
	Client      netip.AddrPort   `json:"client"`
	Transport   string           `json:"transport"`
	Relays      []netip.AddrPort `json:"relays"`
	Age         float64          `json:"age"`     // seconds
	Expires     float64          `json:"expires"` // in seconds, unless refreshed
	Permissions int              `json:"permissions"`
	Channels    int              `json:"channels"`

	SentBytes       uint64 `json:"sent_bytes"` // client to peers
	SentPackets     uint64 `json:"sent_packets"`
	ReceivedBytes   uint64 `json:"received_bytes"`
	ReceivedPackets uint64 `json:"received_packets"`
}

// disconnectRequest is the body of POST /api/v1/disconnect: one of the three.
type disconnectRequest struct {
	User       string `json:"user,omitempty"`
	Revoke     bool   `json:"revoke,omitempty"` // the user's credentials too
	Allocation uint64 `json:"allocation,omitempty"`
	Member     string `json:"member,omitempty"`
}

// disconnected answers it.
type disconnected struct {
	Allocations int `json:"allocations"`
	Members     int `json:"members"`
}

// logLevelBody is the body of PUT /api/v1/loglevel and the answer to GET.
type logLevelBody struct {
	Level string `json:"level"`
}

// adminAPI adds what the commands ask for.
func (a *app) adminAPI(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, a.status())
	})
	mux.HandleFunc("GET /api/v1/allocations", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, a.allocations())
	})
	mux.HandleFunc("GET /api/v1/rooms", func(w http.ResponseWriter, _ *http.Request) {
		rooms := a.hub.Rooms()
		if rooms == nil {
			rooms = []signaling.RoomInfo{}
		}
		writeJSON(w, http.StatusOK, rooms)
	})
	mux.HandleFunc("GET /api/v1/usage", a.serveUsage)
	mux.HandleFunc("POST /api/v1/disconnect", a.serveDisconnect)
	mux.HandleFunc("POST /api/v1/drain", func(w http.ResponseWriter, _ *http.Request) {
		a.life.ask()
		writeJSON(w, http.StatusAccepted, map[string]int{"allocations": a.turn.Len()})
	})
	mux.HandleFunc("POST /api/v1/check", a.serveLocalCheck)
	mux.HandleFunc("POST /api/v1/reload", a.serveReload)
	mux.HandleFunc("GET /api/v1/loglevel", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, a.logLevelNow())
	})
	mux.HandleFunc("PUT /api/v1/loglevel", a.serveLogLevel)
}

func (a *app) status() adminStatus {
	s := adminStatus{
		Version: versionString(), PID: os.Getpid(), Started: a.turn.Start().UTC().Truncate(time.Second), State: a.state(),
		LogLevel: a.logLevelNow().Level, URLs: a.minter().advertised, SelfTest: a.adminURLs(),
		Allocations: a.turn.Len(), Connections: map[string]int{},
		Rooms: len(a.hub.Rooms()), Members: len(a.hub.Members()),
		Addresses: []adminAddress{},
	}
	if f := a.ledger.File(); f != nil {
		s.Books = f.Path()
	}
	for transport, n := range a.turn.Connections() {
		s.Connections[transport.String()] = n
	}
	s.Reload.OK = !a.reloads.failed.Load()
	if at := a.reloads.at.Load(); at > 0 {
		t := time.Unix(at, 0).UTC()
		s.Reload.At = &t
	}
	if expires := a.cert.expires(); !expires.IsZero() {
		s.Expires = &expires
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Config, s.TLS = a.config.File, a.config.TLSMode()
	for _, e := range a.externals {
		s.Addresses = append(s.Addresses, adminAddress{e.Public, e.Local, e.Source, e.Why})
	}
	if a.degraded != nil {
		s.Degraded = a.degraded.Error()
	}
	s.Notes, s.Discovery, s.PortMapping = a.notes, a.asked(), a.mapping()
	return s
}

// asked is what others have said of our address; nil if nobody has said anything.
func (a *app) asked() *adminAsked {
	claims, silent := a.finder.Claims()
	if len(claims)+len(silent) == 0 {
		return nil
	}
	out := &adminAsked{Claims: []adminClaim{}, Silent: append([]string{}, silent...)}
	for _, c := range claims {
		out.Claims = append(out.Claims, adminClaim{c.Source, c.By, c.Addr})
	}
	return out
}

// allocations lists the live ones but for the self-test's, the oldest first.
func (a *app) allocations() []adminAllocation {
	now := time.Since(a.turn.Start())
	list := slices.DeleteFunc(a.turn.Allocations(), func(i relay.Info) bool { return i.User == a.ownUser })
	slices.SortFunc(list, func(x, y relay.Info) int { return int(x.ID) - int(y.ID) })
	out := make([]adminAllocation, len(list))
	for i, x := range list {
		out[i] = adminAllocation{
			ID: x.ID, User: x.User, Client: x.Client, Transport: x.Transport.String(), Relays: x.Relays,
			Age: seconds(now - x.Created), Expires: seconds(x.Expires - now),
			Permissions: x.Permissions, Channels: x.Channels,
			SentBytes: x.SentBytes, SentPackets: x.SentPackets,
			ReceivedBytes: x.ReceivedBytes, ReceivedPackets: x.ReceivedPackets,
		}
	}
	return out
}

// seconds are whole ones.
func seconds(d time.Duration) float64 { return d.Truncate(time.Second).Seconds() }

// readBody reads a small JSON body into v, or answers that it cannot.
func readBody(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		refuse(w, http.StatusBadRequest, "bad_request", "the body is not the JSON that is wanted")
		return false
	}
	return true
}

func (a *app) serveDisconnect(w http.ResponseWriter, r *http.Request) {
	var want disconnectRequest
	if !readBody(w, r, &want) {
		return
	}
	const reason = "disconnected by the administrator"
	var did disconnected
	switch {
	case want.User != "":
		if want.Revoke {
			a.keys.Revoke(want.User, time.Now().Add(a.minter().longest+time.Second))
		}
		did.Allocations = a.turn.KillUser(want.User, reason)
	case want.Allocation != 0:
		if a.turn.Kill(want.Allocation, reason) {
			did.Allocations = 1
		}
	case want.Member != "":
		before := a.turn.Len()
		if a.hub.Kick(want.Member, reason) {
			did.Members = 1
			did.Allocations = max(0, before-a.turn.Len())
		}
	default:
		refuse(w, http.StatusBadRequest, "bad_request", "want user, allocation or member")
		return
	}
	if did == (disconnected{}) && !want.Revoke {
		refuse(w, http.StatusNotFound, "not_found", "there is none")
		return
	}
	a.log.Info("disconnected by the administrator", "user", want.User, "allocation", want.Allocation,
		"member", want.Member, "revoked", want.Revoke, "allocations", did.Allocations)
	writeJSON(w, http.StatusOK, did)
}

func (a *app) serveReload(w http.ResponseWriter, r *http.Request) {
	changes, err := a.reload(r.Context())
	if err != nil {
		refuse(w, http.StatusConflict, "refused", err.Error())
		return
	}
	told := []string{}
	for _, c := range changes {
		told = append(told, c.String())
	}
	writeJSON(w, http.StatusOK, map[string][]string{"changed": told})
}

func (a *app) logLevelNow() logLevelBody {
	return logLevelBody{strings.ToLower(a.level.Level().String())}
}

// serveLogLevel sets the level until a reload changes log.level or the process ends.
func (a *app) serveLogLevel(w http.ResponseWriter, r *http.Request) {
	var want logLevelBody
	if !readBody(w, r, &want) {
		return
	}
	if !slices.Contains(logLevels, want.Level) {
		refuse(w, http.StatusBadRequest, "bad_request", "want one of "+strings.Join(logLevels, ", "))
		return
	}
	a.level.Set(logLevel(config.LogLevel(want.Level)))
	a.log.Log(r.Context(), a.level.Level(), "log level set", "level", want.Level)
	writeJSON(w, http.StatusOK, a.logLevelNow())
}

var logLevels = []string{"debug", "info", "warn", "error"}
