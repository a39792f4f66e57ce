package turnsrv

import (
	"net"
	"sync"
)

// cork holds back what is written to a connection, so that several TLS records
// leave in one call.
type cork struct {
	net.Conn
	name string // of the server, as the client's hello has it; the reader's

	mu   sync.Mutex // guards all below; TLS also writes while it reads
	held bool
	buf  []byte
	kept keeper
}

func (k *cork) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held {
		k.buf = append(k.buf, b...)
		return len(b), nil
	}
	return k.Conn.Write(b)
}

func (k *cork) hold() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = true
}

func (k *cork) release() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = false
	_, err := k.Conn.Write(k.buf)
	k.buf = k.kept.keep(k.buf)[:0]
	return err
}

// NetConn returns the connection below.
func (k *cork) NetConn() net.Conn { return k.Conn }
