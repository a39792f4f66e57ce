package turnsrv

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"rtcd/turnsrv/relay"
	"rtcd/turnsrv/udp"
)

// BenchmarkUDP relays ChannelData between loopback sockets, both ways in turn, from
// 16 clients in bursts. One operation is one packet relayed; what the kernel drops
// is reported as lost. The sending and receiving is part of the time.
func BenchmarkUDP(b *testing.B) {
	for _, plain := range []bool{true, false} {
		for _, burst := range []int{1, 8} {
			for _, up := range []bool{true, false} {
				way := map[bool]string{true: "up", false: "down"}[up]
				b.Run(fmt.Sprintf("plain=%v/burst=%d/%s", plain, burst, way), func(b *testing.B) {
					benchUDP(b, plain, burst, up)
				})
			}
		}
	}
}

func benchUDP(b *testing.B, plain bool, burst int, up bool) {
	const clients, size = 16, 1000
	o := testOptions(Listener{Transport: relay.UDP, Addr: "127.0.0.1:0"})
	o.UDP.Plain = plain
	s := serve(b, o)
	gen, err := udp.New(udp.Options{NoGRO: true, NoGSO: true}) // packets arrive one by one
	if err != nil {
		b.Fatal(err)
	}
	defer gen.Close()
	w := gen.Writer()
	sink, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	peer, err := w.Open(netip.MustParseAddrPort("127.0.0.1:0"), nil)
	if err != nil {
		b.Fatal(err)
	}
	var froms []*udp.Socket
	var tos []netip.AddrPort
	var packet []byte
	for range clients {
		c := dial(b, s, relay.UDP)
		relayed := c.allocate(1)
		if up {
			c.bind(0x4000, addrPort(sink.LocalAddr()))
			local := addrPort(c.nc.LocalAddr())
			c.nc.Close()
			sock, err := w.Open(local, nil)
			if err != nil {
				b.Fatal(err)
			}
			froms, tos = append(froms, sock), append(tos, s.Addrs(relay.UDP)[0])
			packet = c.channelData(0x4000, payload(size))
		} else {
			c.bind(0x4000, peer.Addr)
			froms, tos = append(froms, peer), append(tos, relayed)
			packet = payload(size)
		}
	}
	done := func() uint64 { return s.loop.Stats().WritePackets }
	before := done()
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	for sent := 0; sent < b.N; {
		w.Begin()
		for i := range clients {
			for range burst {
				w.Send(froms[i], udp.Message{To: tos[i], Body: packet})
				sent++
			}
		}
		w.Flush()
		w.End()
		if sent%1024 == 0 {
			// Let the relay keep up: this measures it, not the kernel's queue.
			for end := time.Now().Add(time.Second); done()-before+2048 < uint64(sent) && time.Now().Before(end); {
				time.Sleep(20 * time.Microsecond)
			}
		}
	}
	b.StopTimer()
	time.Sleep(20 * time.Millisecond)
	relayed := done() - before
	b.ReportMetric(100*(1-float64(relayed)/float64(max(uint64(b.N), relayed))), "%lost")
}
