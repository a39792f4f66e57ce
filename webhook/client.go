package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// SignatureHeader is the name of the header with time and signatures.
const SignatureHeader = "Rtcd-Signature"

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 64 << 10

// Client sends signed requests. It is safe for concurrent use.
type Client struct {
	http    *http.Client
	secrets atomic.Pointer[[]string]
	now     func() time.Time
}

// NewClient returns a Client that signs with each of the secrets.
func NewClient(secrets []string) *Client {
	c := &Client{
		http: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		now: time.Now,
	}
	c.SetSecrets(secrets)
	return c
}

// SetSecrets replaces the secrets at once.
func (c *Client) SetSecrets(secrets []string) { c.secrets.Store(&secrets) }

// Close ends connections that wait for more.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Answer is what an endpoint said.
type Answer struct {
	Status int
	Body   []byte // at most 64 KiB
	Wait   time.Duration
}

// Post sends a body to an address. id is the same for each try of one delivery, so that
// who gets it twice can tell. An answer with a bad status is no error.
func (c *Client) Post(ctx context.Context, address, id string, body []byte) (Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "rtcd")
	r.Header.Set("Rtcd-Delivery", id)
	r.Header.Set(SignatureHeader, Sign(*c.secrets.Load(), c.now(), body))
	answer, err := c.http.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return Answer{}, err
	case len(data) > maxAnswer:
		return Answer{}, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
	return Answer{answer.StatusCode, data, time.Duration(max(seconds, 0)) * time.Second}, nil
}

// Sign makes the value of SignatureHeader.
func Sign(secrets []string, now time.Time, body []byte) string {
	t := strconv.FormatInt(now.Unix(), 10)
	out := "t=" + t
	for _, s := range secrets {
		out += ",v1=" + hex.EncodeToString(mac(s, t, body))
	}
	return out
}

func mac(secret, t string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(t + "."))
	h.Write(body)
	return h.Sum(nil)
}

var errSignature = errors.New("the signature does not match")

// Verify tells whether a request came from who knows the secret, not longer ago than
// tolerance. It is what a receiver does.
func Verify(secret, header string, body []byte, now time.Time, tolerance time.Duration) error {
	t, signed := "", false
	for part := range strings.SplitSeq(header, ",") {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "t":
			t = value
		case "v1":
			sum, err := hex.DecodeString(value)
			signed = signed || err == nil && hmac.Equal(sum, mac(secret, t, body))
		}
	}
	unix, err := strconv.ParseInt(t, 10, 64)
	switch {
	case err != nil || !signed:
		return errSignature
	case now.Sub(time.Unix(unix, 0)).Abs() > tolerance:
		return fmt.Errorf("signed at %s, which is too long ago", time.Unix(unix, 0).UTC().Format(time.RFC3339))
	}
	return nil
}
