package turnsrv

import (
	"errors"
	"sync/atomic"
)

// Why a connection ended, where the reason is ours; ErrNotTURN and ErrFrameTooLong
// are among them.
var (
	errHandshake       = errors.New("TLS or DTLS handshake failed")
	errUnauthenticated = errors.New("not authenticated in time")
	errExpelled        = errors.New("too many wrong passwords")
	errSlowFrame       = errors.New("frame not complete in time")
	errSlowReader      = errors.New("write not done in time")
	errIdle            = errors.New("idle without allocation")
	errPanicked        = errors.New("panicked")
)

// endLabels are the reasons as labels of rtcd_turn_connections_ended_total.
var endLabels = [...]struct {
	err   error
	label string
}{
	{ErrNotTURN, "not_turn"},
	{ErrFrameTooLong, "frame_too_long"},
	{errHandshake, "handshake"},
	{errUnauthenticated, "unauthenticated"},
	{errExpelled, "failed_logins"},
	{errSlowFrame, "slow_frame"},
	{errSlowReader, "slow_reader"},
	{errIdle, "idle"},
	{errPanicked, "panic"},
}

// ends counts ended connections by reason; those that the client or the network
// ended are not in it.
type ends [len(endLabels)]atomic.Uint64

// count counts an end and returns its label, "" for one that is not ours.
func (e *ends) count(err error) (label string) {
	for i := range endLabels {
		if errors.Is(err, endLabels[i].err) {
			e[i].Add(1)
			return endLabels[i].label
		}
	}
	return ""
}
