package turnsrv

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"rtcd/turnsrv/relay"
)

// Relaying allocates nothing on the heap, whatever the transport and the way: reader,
// table, sockets, queue and writer. The counts are of the whole process; what a clock
// or a log takes beside is far less than one for each of the runs, and
// testing.AllocsPerRun rounds down.
func TestRelayingDoesNotAllocate(t *testing.T) {
	for _, plain := range []bool{false, true} {
		o := testOptions(everyListener("127.0.0.1")...)
		o.UDP.Plain = plain
		s := serve(t, o)
		for _, tr := range []relay.Transport{relay.UDP, relay.TCP, relay.TLS} {
			up, down := relaying(t, s, tr)
			// crypto/tls allocates for each record that it reads, here one for all
			// frames; and when it writes if the race detector empties its pool.
			var reads, writes float64
			if tr == relay.TLS {
				reads, writes = 3, 1
			}
			if n := testing.AllocsPerRun(500, up); n > reads {
				t.Errorf("%v, plain=%v, client to peer: %v heap allocations for %d packets", tr, plain, n, upFrames)
			}
			if n := testing.AllocsPerRun(500, down); n > writes {
				t.Errorf("%v, plain=%v, peer to client: %v heap allocations per packet", tr, plain, n)
			}
		}
	}
}

const upFrames = 16 // that a client of relaying writes at once

// relaying returns functions that send packets through an allocation and wait until
// they have come: upFrames at once to the peer, and one to the client. They allocate
// nothing themselves.
func relaying(t *testing.T, s *Server, tr relay.Transport) (up, down func()) {
	const size = 500
	c := dial(t, s, tr)
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	to := c.allocate(1)
	c.bind(0x4000, addrPort(peer.LocalAddr()))
	frame := c.channelData(0x4000, payload(size))

	var wire io.Reader = c.nc // below TLS, whose client allocates
	writes, written := 1, frame
	length := len(frame)
	switch tr {
	case relay.UDP:
		writes = upFrames
	case relay.TLS:
		wire = c.nc.(*tls.Conn).NetConn()
		length += 5 + 1 + 16 // of a record of TLS 1.3: header, type and tag
		fallthrough
	case relay.TCP:
		for range upFrames - 1 {
			written = append(written, frame...)
		}
	}
	late := time.Now().Add(time.Minute)
	peer.SetDeadline(late)
	c.nc.SetDeadline(late)
	buf, data := make([]byte, 1<<16), payload(size)
	up = func() {
		for range writes {
			if _, err := c.nc.Write(written); err != nil {
				t.Fatal(err)
			}
		}
		for range upFrames {
			if n, _, err := peer.ReadFromUDPAddrPort(buf); n != size || err != nil {
				t.Fatalf("%v: the peer got %d bytes: %v", tr, n, err)
			}
		}
	}
	down = func() {
		if _, err := peer.WriteToUDPAddrPort(data, to); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(wire, buf[:length]); err != nil {
			t.Fatalf("%v: the client got: %v", tr, err)
		}
	}
	return up, down
}
