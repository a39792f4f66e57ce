package main

import (
	"errors"
	"io/fs"
	"net/http"
	"time"

	"rtcd/accounting"
)

// usage answers GET /api/v1/usage?user=U&since=T: what a user has relayed since then, by
// the books and by what lives now. Of an allocation that began before T all counts.
type usage struct {
	User        string    `json:"user"`
	Since       time.Time `json:"since,omitzero"`
	Allocations int       `json:"allocations"`
	Live        int       `json:"live"`     // of them
	Duration    float64   `json:"duration"` // seconds, all of them together

	SentBytes       uint64 `json:"sent_bytes"` // client to peers
	SentPackets     uint64 `json:"sent_packets"`
	ReceivedBytes   uint64 `json:"received_bytes"`
	ReceivedPackets uint64 `json:"received_packets"`
}

func (u *usage) add(r *accounting.Record) {
	u.Allocations++
	u.Duration += r.Duration
	u.SentBytes += r.SentBytes
	u.SentPackets += r.SentPackets
	u.ReceivedBytes += r.ReceivedBytes
	u.ReceivedPackets += r.ReceivedPackets
}

func (a *app) serveUsage(w http.ResponseWriter, r *http.Request) {
	u := usage{User: r.URL.Query().Get("user")}
	if u.User == "" {
		refuse(w, http.StatusBadRequest, "bad_request", "want user, the part of the TURN username after the colon")
		return
	}
	if text := r.URL.Query().Get("since"); text != "" {
		since, err := time.Parse(time.RFC3339, text)
		if err != nil {
			refuse(w, http.StatusBadRequest, "bad_request", "since: want a time like 2026-01-02T15:04:05Z")
			return
		}
		u.Since = since
	}
	if err := a.use(&u); err != nil {
		a.log.Error("the books cannot be read", "err", err)
		refuse(w, http.StatusInternalServerError, "internal", "the books cannot be read; see the log")
		return
	}
	writeJSON(w, http.StatusOK, u)
}

// use adds up what lives, and what the books have of the others.
func (a *app) use(u *usage) error {
	live := map[string]bool{}
	for _, r := range a.liveRecords() {
		if live[r.ID] = true; r.User == u.User {
			u.Live++
			u.add(&r)
		}
	}
	f := a.ledger.File()
	if f == nil {
		return nil
	}
	files, err := accounting.Files(f.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	found, _, err := accounting.Search(files, accounting.Question{User: u.User})
	for i := range found {
		r := &found[i]
		if r.User == u.User && !live[r.ID] && !r.Time.Before(u.Since) {
			u.add(&r.Record)
		}
	}
	return err
}
