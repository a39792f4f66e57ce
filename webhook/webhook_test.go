package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rtcd/creds"
	"rtcd/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/webhook") }

const secret = "a secret of the two, long enough"

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// receiver is an operator's endpoint: it wants good signatures and answers as the test says.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	answer func(w http.ResponseWriter, body []byte)
	ids    []string
	bodies []string
}

func newReceiver(t *testing.T, answer func(http.ResponseWriter, []byte)) *receiver {
	r := &receiver{t: t, answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err == nil {
		err = Verify(secret, q.Header.Get(SignatureHeader), body, time.Now(), time.Minute)
	}
	if err != nil || q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s %v: %v", q.Method, q.Header, err)
	}
	r.mu.Lock()
	r.bodies, r.ids = append(r.bodies, string(body)), append(r.ids, q.Header.Get("Rtcd-Delivery"))
	answer := r.answer
	r.mu.Unlock()
	answer(w, body)
}

func (r *receiver) set(answer func(http.ResponseWriter, []byte)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) seen() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.bodies)
}

// records are all that came in bodies that were taken, in order.
func records(bodies []string) (out []string) {
	for _, b := range bodies {
		var batch struct{ Records []string }
		json.Unmarshal([]byte(b), &batch)
		out = append(out, batch.Records...)
	}
	return out
}

func status(code int) func(http.ResponseWriter, []byte) {
	return func(w http.ResponseWriter, _ []byte) { w.WriteHeader(code) }
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// TestSignature: by hand, once; what was changed, is old or of another secret is refused.
func TestSignature(t *testing.T) {
	const want = "t=1767355200,v1=" // and the sum, which openssl made: printf '1767355200.{}' | openssl dgst -sha256 -hmac …
	const sum = "4ecf314b8d9a45626d19a8d6bc9d731727187437670c7c06a5fe2b678a3f6993"
	got := Sign([]string{secret}, noon, []byte("{}"))
	if got != want+sum {
		t.Errorf("signed %s, want %s", got, want+sum)
	}
	both := Sign([]string{"the new one", secret}, noon, []byte("{}"))
	for name, c := range map[string]struct {
		secret, header, body string
		now                  time.Time
		good                 bool
	}{
		"good":            {secret, got, "{}", noon.Add(time.Minute), true},
		"of two secrets":  {secret, both, "{}", noon, true},
		"another body":    {secret, got, "{ }", noon, false},
		"another secret":  {"another", got, "{}", noon, false},
		"another time":    {secret, strings.Replace(got, "t=17", "t=18", 1), "{}", noon, false},
		"old":             {secret, got, "{}", noon.Add(6 * time.Minute), false},
		"of the future":   {secret, got, "{}", noon.Add(-6 * time.Minute), false},
		"the sum in vain": {secret, "v1=" + sum, "{}", noon, false},
		"empty":           {secret, "", "{}", noon, false},
	} {
		if err := Verify(c.secret, c.header, []byte(c.body), c.now, 5*time.Minute); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClientIsCareful: it goes nowhere else than it was sent, and takes no endless answer.
func TestClientIsCareful(t *testing.T) {
	elsewhere := newReceiver(t, status(200))
	r := newReceiver(t, func(w http.ResponseWriter, _ []byte) {
		w.Header().Set("Location", elsewhere.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	c := NewClient([]string{secret})
	defer c.Close()
	if a, err := c.Post(t.Context(), r.URL, "1", []byte("{}")); err != nil || a.Status != http.StatusTemporaryRedirect || elsewhere.seen() > 0 {
		t.Errorf("%+v %v; elsewhere got %d requests", a, err, elsewhere.seen())
	}
	r.set(func(w http.ResponseWriter, _ []byte) {
		for range 100 {
			w.Write(make([]byte, 10<<10))
		}
	})
	if _, err := c.Post(t.Context(), r.URL, "1", []byte("{}")); err == nil {
		t.Error("an answer of a megabyte is taken")
	}
}

// queue is a Queue that runs until the test ends it.
type queue struct {
	*Queue
	lost atomic.Int64
	log  syncedLog
	end  func()
}

type syncedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *syncedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *syncedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newQueue(t *testing.T, o QueueOptions) *queue {
	q := &queue{}
	o.Client = NewClient([]string{secret})
	o.Dropped = func(n int) { q.lost.Add(int64(n)) }
	o.Log = slog.New(slog.NewTextHandler(&q.log, nil))
	o.First, o.Longest = time.Millisecond, 4*time.Millisecond
	q.Queue = NewQueue(o)
	ctx, cancel := contextOf(t)
	done := make(chan error, 1)
	// The test owns it; end ends it.
	go func() { done <- q.Run(ctx) }()
	q.end = func() { cancel(); <-done; o.Client.Close() }
	return q
}

// TestQueueTriesAgain: a receiver that fails for a while gets everything in the end, once, in
// order, and in batches.
func TestQueueTriesAgain(t *testing.T) {
	var tries atomic.Int64
	var taken []string

	var mu sync.Mutex
	r := newReceiver(t, nil)
	r.set(func(w http.ResponseWriter, body []byte) {
		if tries.Add(1) <= 5 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		taken = append(taken, string(body))
	})
	q := newQueue(t, QueueOptions{Batch: 7})
	defer q.end()
	q.Put([]byte(`"before there is an address"`))
	q.SetAddress(r.URL)
	var want []string
	for i := range 40 {
		q.Put(fmt.Appendf(nil, `"%d"`, i))
		want = append(want, fmt.Sprint(i))
	}
	eventually(t, "all are taken", func() bool { return q.Len() == 0 })
	mu.Lock()
	defer mu.Unlock()
	if got := records(taken); !slices.Equal(got, want) {
		t.Errorf("taken %v, want %v", got, want)
	}
	r.mu.Lock()
	first := r.ids[0]
	if n := len(slices.DeleteFunc(slices.Clone(r.ids), func(id string) bool { return id != first })); n != 6 || r.bodies[0] != r.bodies[5] {
		t.Errorf("the first delivery was tried %d times under one name, want 6; %q, then %q", n, r.bodies[0], r.bodies[5])
	}
	r.mu.Unlock()
	if n := q.lost.Load(); n != 0 {
		t.Errorf("%d are counted as lost", n)
	}
	if log := q.log.String(); strings.Count(log, "trying again") != 1 || !strings.Contains(log, "takes records again") {
		t.Errorf("log:\n%s", log)
	}
}

// TestQueueIsBounded: while the receiver stands still the oldest are lost and counted, and
// Put does not wait; a batch that it never wants is lost at once; the end loses the rest.
func TestQueueIsBounded(t *testing.T) {
	hold := make(chan struct{})
	r := newReceiver(t, func(w http.ResponseWriter, _ []byte) { <-hold; w.WriteHeader(http.StatusBadRequest) })
	q := newQueue(t, QueueOptions{Records: 10, Batch: 2})
	q.SetAddress(r.URL)
	q.Put([]byte(`"first"`))
	eventually(t, "it is on its way", func() bool { return r.seen() == 1 })
	for i := range 25 {
		q.Put(fmt.Appendf(nil, `"%d"`, i))
	}
	if n, lost := q.Len(), q.lost.Load(); n != 10 || lost != 16 {
		t.Errorf("%d wait, %d are lost; want 10 and 16", n, lost)
	}
	r.set(status(http.StatusOK))
	close(hold)
	eventually(t, "the rest is taken", func() bool { return q.Len() == 0 })
	if lost := q.lost.Load(); lost != 17 { // the one that was a bad request
		t.Errorf("%d are lost, want 17", lost)
	}
	r.set(status(http.StatusInternalServerError))
	for range 3 {
		q.Put([]byte(`"late"`))
	}
	q.end()
	if lost := q.lost.Load(); lost != 20 || q.Len() != 0 {
		t.Errorf("%d are lost at the end, want 20; %d wait", lost, q.Len())
	}
}

// TestQueueDeliversAtTheEnd: what came last before the process ends is not lost.
func TestQueueDeliversAtTheEnd(t *testing.T) {
	r := newReceiver(t, status(http.StatusOK))
	q := NewQueue(QueueOptions{Client: NewClient([]string{secret}), Dropped: func(n int) { t.Errorf("%d lost", n) }, Log: slog.New(slog.DiscardHandler)})
	defer q.o.Client.Close()
	q.SetAddress(r.URL)
	q.Put([]byte(`"last"`))
	ctx, cancel := contextOf(t)
	cancel()
	if err := q.Run(ctx); err != nil || r.seen() != 1 || q.Len() != 0 {
		t.Errorf("%v; %d deliveries, %d wait", err, r.seen(), q.Len())
	}
}

func newJoins(t *testing.T, url string, cache time.Duration) *Joins {
	c := NewClient([]string{secret})
	t.Cleanup(c.Close)
	j := NewJoins(c, slog.New(slog.DiscardHandler))
	j.SetPolicy(JoinPolicy{Address: url, Timeout: 5 * time.Second, Cache: cache})
	return j
}

// TestJoins: the endpoint decides by the token, and its answer holds for a while.
func TestJoins(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, body []byte) {
		var q struct{ Event, Token string }
		switch json.Unmarshal(body, &q); q.Token {
		case "ann":
			io.WriteString(w, `{"allow":true,"room":"r","name":"Ann","subject":"u1","perms":["kick"],"ttl":60}`)
		case "long":
			io.WriteString(w, `{"allow":true,"ttl":99999999999}`)
		case "who":
			w.WriteHeader(http.StatusForbidden)
		default:
			io.WriteString(w, `{"allow":false}`)
		}
	})
	j := newJoins(t, r.URL, 10*time.Second)
	c, err := j.Verify("ann", noon)
	if err != nil || c.Room != "r" || c.Name != "Ann" || c.Subject != "u1" || !slices.Equal(c.Perms, []string{"kick"}) || !c.Expires.Equal(noon.Add(time.Minute)) {
		t.Errorf("%+v %v", c, err)
	}
	if c, err := j.Verify("long", noon); err != nil || !c.Expires.Equal(noon.Add(maxJoinTTL)) {
		t.Errorf("a long time: %+v %v", c, err)
	}
	for _, bad := range []string{"who", "eve", "", strings.Repeat("x", maxAsked+1)} {
		if _, err := j.Verify(bad, noon); !errors.Is(err, creds.ErrTokenInvalid) || bad != "" && strings.Contains(err.Error(), bad+" ") {
			t.Errorf("%.10q: %v", bad, err)
		}
	}
	asked := r.seen()
	for range 5 {
		j.Verify("ann", noon.Add(9*time.Second))
		j.Verify("eve", noon.Add(9*time.Second))
	}
	if n := r.seen(); n != asked {
		t.Errorf("asked %d times more within the time that an answer holds", n-asked)
	}
	j.Verify("ann", noon.Add(10*time.Second))
	if n := r.seen(); n != asked+1 {
		t.Errorf("asked %d times more after it", n-asked)
	}
}

// TestJoinsFailClosed: whatever goes wrong, nobody is let in, and the next one is asked anew.
func TestJoinsFailClosed(t *testing.T) {
	r := newReceiver(t, nil)
	j := newJoins(t, r.URL, time.Hour)
	for name, answer := range map[string]func(http.ResponseWriter, []byte){
		"error": status(http.StatusInternalServerError),
		"redirect": func(w http.ResponseWriter, _ []byte) {
			w.Header().Set("Location", "/")
			w.WriteHeader(http.StatusFound)
		},
		"created": func(w http.ResponseWriter, _ []byte) {
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, `{"allow":true}`)
		},
		"empty":   status(http.StatusOK),
		"no JSON": func(w http.ResponseWriter, _ []byte) { io.WriteString(w, `allow`) },
		"text":    func(w http.ResponseWriter, _ []byte) { io.WriteString(w, `{"allow":"true"}`) },
		"nothing": func(w http.ResponseWriter, _ []byte) { io.WriteString(w, `{}`) },
		"endless": func(w http.ResponseWriter, _ []byte) {
			io.WriteString(w, `{"allow":true}`+strings.Repeat(" ", maxAnswer))
		},
		"cut off": func(http.ResponseWriter, []byte) { panic(http.ErrAbortHandler) },
	} {
		r.set(answer)
		if _, err := j.Verify(name, noon); !errors.Is(err, creds.ErrTokenInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.set(func(w http.ResponseWriter, _ []byte) { io.WriteString(w, `{"allow":true}`) })
	if _, err := j.Verify("error", noon); err != nil {
		t.Errorf("it works again: %v", err)
	}
	hold := make(chan struct{})
	r.set(func(http.ResponseWriter, []byte) { <-hold })
	j.SetPolicy(JoinPolicy{Address: r.URL, Timeout: 10 * time.Millisecond})
	if _, err := j.Verify("late", noon); !errors.Is(err, creds.ErrTokenInvalid) {
		t.Errorf("no answer in time: %v", err)
	}
	close(hold)
	j.SetPolicy(JoinPolicy{})
	if _, err := j.Verify("error", noon); !errors.Is(err, creds.ErrTokenInvalid) {
		t.Errorf("off: %v", err)
	}
	gone := newReceiver(t, status(200))
	gone.Close()
	j.SetPolicy(JoinPolicy{Address: gone.URL, Timeout: time.Second})
	if _, err := j.Verify("x", noon); !errors.Is(err, creds.ErrTokenInvalid) {
		t.Errorf("nobody is there: %v", err)
	}
}

// TestJoinsAreBounded: many who show the same token ask once; many who guess ask only so many
// at a time.
func TestJoinsAreBounded(t *testing.T) {
	hold := make(chan struct{})
	r := newReceiver(t, func(w http.ResponseWriter, _ []byte) { <-hold; io.WriteString(w, `{"allow":true}`) })
	j := newJoins(t, r.URL, time.Minute)
	var wg sync.WaitGroup
	var in atomic.Int64
	try := func(token string) {
		wg.Go(func() {
			if _, err := j.Verify(token, noon); err == nil {
				in.Add(1)
			}
		})
	}
	for range 100 {
		try("the same")
	}
	for i := range maxQuestions - 1 {
		try(fmt.Sprint("guess ", i))
	}
	eventually(t, "all may ask", func() bool { return r.seen() == maxQuestions })
	if _, err := j.Verify("one more", noon); !errors.Is(err, creds.ErrTokenInvalid) {
		t.Errorf("one more: %v", err)
	}
	close(hold)
	wg.Wait()
	if in.Load() != 100+maxQuestions-1 || r.seen() != maxQuestions {
		t.Errorf("%d are in, %d questions", in.Load(), r.seen())
	}
	if a := j.Answers(); a["busy"] != 1 || a["allowed"] != maxQuestions {
		t.Errorf("answers %v", a)
	}
	if _, err := j.Verify("one more", noon); err != nil {
		t.Errorf("it is remembered that nobody could be asked: %v", err)
	}
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(context.WithoutCancel(t.Context()))
}
