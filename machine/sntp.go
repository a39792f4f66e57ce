package machine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

// The packet of SNTP (RFC 4330 section 4), 48 bytes without its extensions:
//
//	0        leap indicator (2 bits), version (3), mode (3)
//	1        stratum: 0 = a refusal, 1 to 15 = a server
//	24..31   originate: the transmit timestamp of the request
//	32..39   receive: when the server got it
//	40..47   transmit: when it answered
//
// A timestamp is seconds since 1900 and a fraction, 32 bits each.
const (
	ntpLength    = 48
	ntpStratum   = 1
	ntpOriginate = 24
	ntpReceive   = 32
	ntpTransmit  = 40

	ntpRequest = 4<<3 | 3 // version 4, client
	ntpServer  = 4        // mode of an answer
	ntpUnset   = 3        // leap indicator of a server that has no time itself

	ntpPort = "123"
)

// ntpToUnix is how many seconds 1900, the zero of time servers, is before that of Unix.
// Their seconds wrap round in 2036: what seems to be before 1968 is of the era after
// that, as RFC 4330 section 3 says.
const ntpToUnix = 2208988800

// Offset asks a time server (host or host:port) how far this machine's clock is behind
// its own; negative is ahead. It takes no longer than ctx.
func Offset(ctx context.Context, server string) (time.Duration, error) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(server, ntpPort)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", server)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	request := make([]byte, ntpLength)
	request[0] = ntpRequest
	rand.Read(request[ntpTransmit:]) // a random cookie: it comes back, and tells nobody our time
	sent := time.Now()
	if _, err := conn.Write(request); err != nil {
		return 0, err
	}
	answer := make([]byte, 512)
	for {
		n, err := conn.Read(answer)
		if err != nil {
			return 0, fmt.Errorf("%s does not answer: %w", server, err)
		}
		// Subtracting the monotonic part keeps a jump of the clock out of the measure.
		arrived := sent.Add(time.Since(sent))
		if offset, err := ntpOffset(answer[:n], request, sent, arrived); !errors.Is(err, errNotOurs) {
			return offset, err
		}
	}
}

var errNotOurs = errors.New("no answer to our request")

func ntpOffset(answer, request []byte, sent, arrived time.Time) (time.Duration, error) {
	if len(answer) < ntpLength || answer[0]&7 != ntpServer ||
		string(answer[ntpOriginate:ntpOriginate+8]) != string(request[ntpTransmit:ntpTransmit+8]) {
		return 0, errNotOurs
	}
	if answer[0]>>6 == ntpUnset || answer[ntpStratum] == 0 || answer[ntpStratum] > 15 {
		return 0, errors.New("the time server has no time to give")
	}
	got, out := ntpTime(answer[ntpReceive:]), ntpTime(answer[ntpTransmit:])
	return (got.Sub(sent) + out.Sub(arrived)) / 2, nil
}

func ntpTime(b []byte) time.Time {
	seconds, fraction := uint64(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))
	if seconds < 1<<31 {
		seconds += 1 << 32
	}
	return time.Unix(int64(seconds)-ntpToUnix, int64(fraction*uint64(time.Second)>>32))
}
