package webhook

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"rtcd/creds"
)

// JoinPolicy may change at any time.
type JoinPolicy struct {
	Address string        // "" = off: nobody is let in
	Timeout time.Duration // of one question
	Cache   time.Duration // how long an answer holds; 0 = not at all
}

// Joins asks an endpoint who may join: it is handed the token that a client has shown and
// says what it is worth.
//
//	→ {"event": "join", "token": "…"}
//	← 200 {"allow": true, "room": "standup", "name": "Ann", "subject": "u1", "perms": ["kick"], "ttl": 3600}
//	← 200 {"allow": false}, or 401, 403
//
// room "" lets the member choose; ttl, in seconds, is how long the answer is worth
// something (an hour if it is not given, a day at most). Whatever else comes, or nothing in
// time, is a no. Few questions are asked at a time, and one that is asked already waits for
// its answer. It is safe for concurrent use.
type Joins struct {
	client *Client
	log    *slog.Logger
	policy atomic.Pointer[JoinPolicy]
	slots  chan struct{}

	answers [numAnswers]atomic.Uint64

	mu     sync.Mutex // guards the following
	known  map[[32]byte]*verdict
	failed time.Time // when the log heard of a failure
}

// verdict is an answer, or the wait for one.
type verdict struct {
	done   chan struct{} // closed when the rest is set
	claims creds.Claims
	err    error
	until  time.Time // it holds; zero while it is waited for
}

// What a question came to; the labels of a metric.
const (
	answerAllowed = iota
	answerDenied
	answerFailed // no answer, or none that can be understood
	answerBusy   // not asked: too many questions at a time
	numAnswers
)

var answerNames = [numAnswers]string{"allowed", "denied", "failed", "busy"}

const (
	maxQuestions = 32     // at a time
	maxVerdicts  = 10_000 // remembered
	maxAsked     = 4096   // bytes of a token
	joinTTL      = time.Hour
	maxJoinTTL   = 24 * time.Hour
)

// NewJoins returns Joins that lets nobody in: see Joins.SetPolicy.
func NewJoins(client *Client, log *slog.Logger) *Joins {
	j := &Joins{client: client, log: log, slots: make(chan struct{}, maxQuestions), known: map[[32]byte]*verdict{}}
	j.policy.Store(&JoinPolicy{})
	return j
}

// SetPolicy replaces the policy; what was answered before is forgotten.
func (j *Joins) SetPolicy(p JoinPolicy) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.policy.Store(&p)
	j.known = map[[32]byte]*verdict{}
}

// Asks tells whether there is somebody to ask.
func (j *Joins) Asks() bool { return j.policy.Load().Address != "" }

// Answers are how many questions came to what, by word.
func (j *Joins) Answers() map[string]uint64 {
	out := map[string]uint64{}
	for i, name := range answerNames {
		out[name] = j.answers[i].Load()
	}
	return out
}

// Verify asks what a token is worth. Its errors wrap creds.ErrTokenInvalid and never quote
// the token.
func (j *Joins) Verify(token string, now time.Time) (creds.Claims, error) {
	p := j.policy.Load()
	if p.Address == "" || token == "" || len(token) > maxAsked {
		return creds.Claims{}, fmt.Errorf("%w: nobody can be asked about it", creds.ErrTokenInvalid)
	}
	key := sha256.Sum256([]byte(token))
	v, asked := j.find(key, now)
	if asked {
		<-v.done
		return v.claims, v.err
	}
	v.claims, v.err = j.ask(p, token, now)
	j.mu.Lock()
	v.until = now.Add(p.Cache)
	if p.Cache == 0 || isFailure(v.err) {
		if j.known[key] == v {
			delete(j.known, key) // asked anew the next time
		}
	} else if v.err == nil && v.claims.Expires.Before(v.until) {
		v.until = v.claims.Expires
	}
	j.mu.Unlock()
	close(v.done)
	return v.claims, v.err
}

// find returns the verdict on a token, and whether somebody asks or has asked for it.
func (j *Joins) find(key [32]byte, now time.Time) (v *verdict, asked bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if v := j.known[key]; v != nil && (v.until.IsZero() || now.Before(v.until)) {
		return v, true
	}
	if len(j.known) >= maxVerdicts {
		for k, old := range j.known {
			if !old.until.IsZero() && !now.Before(old.until) {
				delete(j.known, k)
			}
		}
	}
	v = &verdict{done: make(chan struct{})}
	if len(j.known) < maxVerdicts {
		j.known[key] = v
	}
	return v, false
}

// errNoAnswer is a failure of the endpoint, as opposed to a no.
type errNoAnswer struct{ error }

func isFailure(err error) bool {
	var failed errNoAnswer
	return errors.As(err, &failed)
}

func (e errNoAnswer) Unwrap() error { return e.error }

func (j *Joins) ask(p *JoinPolicy, token string, now time.Time) (creds.Claims, error) {
	select {
	case j.slots <- struct{}{}:
		defer func() { <-j.slots }()
	default:
		j.answers[answerBusy].Add(1)
		return creds.Claims{}, errNoAnswer{fmt.Errorf("%w: too many questions are under way", creds.ErrTokenInvalid)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.Timeout)
	defer cancel()
	body, err := json.Marshal(map[string]string{"event": "join", "token": token})
	var answer Answer
	if err == nil {
		answer, err = j.client.Post(ctx, p.Address, rand.Text(), body)
	}
	if err == nil && (answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden) {
		return j.deny()
	}
	var said joinAnswer
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("status %d", answer.Status)
	} else if err == nil {
		err = json.Unmarshal(answer.Body, &said)
	}
	if err != nil {
		j.answers[answerFailed].Add(1)
		j.complain(now, err)
		return creds.Claims{}, errNoAnswer{fmt.Errorf("%w: the webhook does not answer", creds.ErrTokenInvalid)}
	}
	if !said.Allow {
		return j.deny()
	}
	j.answers[answerAllowed].Add(1)
	return said.claims(now), nil
}

func (j *Joins) deny() (creds.Claims, error) {
	j.answers[answerDenied].Add(1)
	return creds.Claims{}, fmt.Errorf("%w: the webhook does not let it in", creds.ErrTokenInvalid)
}

// complain tells the log once a minute that the endpoint fails. The error may hold the
// address, which is the operator's own, but no token.
func (j *Joins) complain(now time.Time, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if now.Sub(j.failed) >= time.Minute {
		j.failed = now
		j.log.Error("the webhook that decides who may join fails; nobody whom it should know is let in", "err", err)
	}
}

type joinAnswer struct {
	Allow   bool     `json:"allow"`
	Room    string   `json:"room"`
	Name    string   `json:"name"`
	Subject string   `json:"subject"`
	Perms   []string `json:"perms"`
	TTL     int64    `json:"ttl"`
}

func (a *joinAnswer) claims(now time.Time) creds.Claims {
	ttl := joinTTL
	if a.TTL > 0 {
		ttl = min(time.Duration(min(a.TTL, int64(maxJoinTTL/time.Second)))*time.Second, maxJoinTTL)
	}
	return creds.Claims{Room: a.Room, Name: a.Name, Subject: a.Subject, Perms: a.Perms, Expires: now.Add(ttl)}
}
