package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"rtcd/diagnosis"
	"rtcd/probe"
	"rtcd/signaling"
	"rtcd/web"
)

// explainer joins what a probe sees with what the server saw of it, which the server
// tells at its check: over the admin endpoint, or to the bearer of a join token.
type explainer struct {
	begun  checkBegun
	answer io.Closer
	words  web.Words

	mu    sync.Mutex // guards the following
	seen  []diagnosis.Sighting
	whole bool // nothing was lost, and the server is still telling

	taken int // sightings that earlier attempts had; the caller's
}

// openSite begins a check at a site's public address.
func openSite(ctx context.Context, site, token string, roots *x509.CertPool, insecure bool) (*explainer, error) {
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, InsecureSkipVerify: insecure}, DisableKeepAlives: true,
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(site, "/")+"/api/v1/check", nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	return newExplainer(answer)
}

// openAdmin begins one at the admin endpoint.
func openAdmin(ctx context.Context, f *adminFlags) (*explainer, error) {
	answer, err := f.answer(ctx, http.MethodPost, "/api/v1/check", nil, 0)
	if err != nil {
		return nil, err
	}
	return newExplainer(answer)
}

// newExplainer reads the first line of a check's answer, and goes on reading until close.
func newExplainer(answer *http.Response) (*explainer, error) {
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		var nothing struct{}
		if err := decodeAnswer(answer, &nothing); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("the server says %s", answer.Status)
	}
	e := &explainer{answer: answer.Body, whole: true}
	lines := bufio.NewScanner(answer.Body)
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &e.begun) != nil || e.begun.Type != "check" {
		answer.Body.Close()
		return nil, errors.New("what answers is no rtcd that tells what it sees")
	}
	var err error
	if e.words, err = web.LoadWords("en"); err != nil {
		answer.Body.Close()
		return nil, err
	}
	// The command owns it; close ends it.
	go e.listen(lines)
	return e, nil
}

func (e *explainer) listen(lines *bufio.Scanner) {
	for lines.Scan() {
		var s diagnosis.Sighting
		if json.Unmarshal(lines.Bytes(), &s) != nil || s.Type != "trace" {
			continue
		}
		e.mu.Lock()
		e.seen = append(e.seen, s)
		e.whole = e.whole && s.Lost == 0
		e.mu.Unlock()
	}
	e.mu.Lock()
	e.whole = false
	e.mu.Unlock()
}

func (e *explainer) close() { e.answer.Close() }

// urls are all that the server advertises.
func (e *explainer) urls() (out []string) {
	for _, s := range e.begun.Servers {
		out = append(out, s.URLs...)
	}
	return out
}

// credential is what to use for a URL, and its number. One that the server does not
// advertise, as by another name of it, gets that of the relay test.
func (e *explainer) credential(url string) (signaling.ICEServer, int) {
	for n, s := range e.begun.Servers {
		if slices.Contains(s.URLs, url) {
			return s, n
		}
	}
	return e.begun.Relay, len(e.begun.Servers)
}

// tellTime is what the server has to tell what it saw last.
const tellTime = 500 * time.Millisecond

// explanation is what `rtcd probe --explain` adds to a report.
type explanation struct {
	*probe.Report
	Server *serverView `json:"server_view,omitempty"`
}

// serverView is what the server saw, in words and one by one.
type serverView struct {
	Code   string               `json:"code"` // "" = nothing can be said
	Saw    string               `json:"saw"`
	Remedy string               `json:"remedy,omitempty"`
	Seen   []diagnosis.Sighting `json:"seen"`
}

// explain probes one URL and joins both views.
func (e *explainer) explain(ctx context.Context, t probe.Target, o probe.Options) explanation {
	server, n := e.credential(t.URL)
	o.Username, o.Credential = server.Username, server.Credential
	report := probe.Run(ctx, t, o)
	select {
	case <-time.After(tellTime):
	case <-ctx.Done():
	}
	e.mu.Lock()
	seen, whole := slices.Clone(e.seen[e.taken:]), e.whole
	e.taken = len(e.seen)
	e.mu.Unlock()
	seen = slices.DeleteFunc(seen, func(s diagnosis.Sighting) bool {
		if s.N != nil {
			return *s.N != n
		}
		return s.Transport != t.Transport
	})
	a := diagnosis.Attempt{OK: report.OK, TURN: t.TURN, Transport: t.Transport, Whole: whole}
	if report.Problem != nil {
		a.Code = report.Problem.Code
	}
	return explanation{report, e.view(t, diagnosis.ViewOf(a, seen), seen)}
}

// view puts a view into the words of the check page.
func (e *explainer) view(t probe.Target, v diagnosis.View, seen []diagnosis.Sighting) *serverView {
	proto := "TCP"
	if t.Transport == "udp" || t.Transport == "dtls" {
		proto = "UDP"
	}
	clock := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.TimeOnly) }
	skew := time.Since(time.UnixMilli(e.begun.Now)).Round(time.Second)
	values := map[string]string{
		"host": t.Host, "port": fmt.Sprint(t.Port), "proto": proto, "lower": strings.ToLower(proto),
		"address": e.begun.Address, "what": e.words["seen.what"], "server": clock(e.begun.Now), "device": clock(time.Now().UnixMilli()),
		"skew": fmt.Sprintf("%.0f", skew.Seconds()), "range": "turn.relay_ports", "ufw": "FIRST:LAST",
	}
	if e.begun.Address == "" {
		values["address"] = "this machine"
	}
	maps.Copy(values, v.Values)
	plain := func(key string) string { return strings.ReplaceAll(e.words.Say(key, values), "`", "") }
	out := &serverView{Code: v.Code, Saw: plain("seen." + v.Code), Remedy: plain("seen-remedy." + v.Code), Seen: seen}
	if v.Code == "allocated" || v.Code == "bound" {
		out.Saw = strings.TrimSpace(e.words["see."+v.Code] + " " + v.Values["relay"])
	}
	return out
}

// print adds the server's view to what printReport has printed.
func (v *serverView) print(w io.Writer) {
	saw := v.Saw
	if saw == "" {
		saw = "nothing that can be told apart from other traffic"
	}
	fmt.Fprintf(w, "      server: %s\n", saw)
	for _, s := range v.Seen {
		parts := []string{s.See}
		if s.Code != 0 {
			parts = append(parts, fmt.Sprint(s.Code))
		}
		parts = append(parts, s.Why, s.Name)
		if s.Peer != nil {
			parts = append(parts, s.Peer.String())
		}
		if s.Sent+s.Received > 0 {
			parts = append(parts, fmt.Sprintf("%d bytes out, %d in", s.Sent, s.Received))
		}
		parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
		fmt.Fprintf(w, "              %6d ms  %s\n", s.At, strings.Join(parts, " "))
	}
	if v.Remedy != "" {
		fmt.Fprintf(w, "      server's remedy: %s\n", v.Remedy)
	}
}
