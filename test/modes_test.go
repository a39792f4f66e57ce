package test

import (
	"strings"
	"testing"
	"time"

	"rtcd/test/soak"
)

// udpMode is one way in which rtcd reads and writes datagrams.
type udpMode struct {
	name     string
	settings settings // of the section turn
	joins    bool     // the kernel joins and splits datagrams, and rtcd counts them
}

var udpModes = []udpMode{
	{"plain", settings{"udp": settings{"batch": false}}, false},
	{"all", settings{"udp": settings{"batch": true, "gro": true, "gso": true}}, true},
	{"coalescing", settings{"coalesce": "200us"}, true},
}

// Every way relays the same: for coturn's client and pion's, and under a load of bursts
// in which every packet is accounted for. The fast ones have to have been in use.
func TestEveryWayOfReadingAndWriting(t *testing.T) {
	for _, m := range udpModes {
		t.Run(m.name, func(t *testing.T) {
			const secret = "the secret of a load, 32 bytes and more"
			s := startRTCD(t, unlimited, change{"turn", m.settings},
				change{"turn", settings{"secret_file": "", "secrets": []string{secret}}})
			to := s.target(t)
			c, err := uclient(patient(t), to, overUDP, ip4, "-y", "-n", "20", "-z", "5")
			wantWhole(t, c, err, 80)
			wantEcho(t, allocate(t, pionClient(t, world.alice, to, overUDP, ip6)), startEcho(t, world.bob))

			report := soakRTCD(t, s, soak.Options{
				Secret: secret, Calls: 10, Outside: 10, Rate: 4000, Size: 160, Burst: 8, For: 1500 * time.Millisecond,
			})
			for _, counter := range []string{"rtcd_turn_gro_segments_total", "rtcd_turn_gso_segments_total"} {
				if n := report.Grown(counter); (n > 0) != m.joins {
					t.Errorf("%s grew by %.0f", counter, n)
				}
			}
		})
	}
}

// soakRTCD loads a server from alice, with peers at bob, and wants every packet accounted
// for; Options say how much.
func soakRTCD(t *testing.T, s *rtcdServer, o soak.Options) *soak.Report {
	t.Helper()
	o.Lab, o.Server, o.Client, o.Peer, o.Port = world.net, s.node, world.alice, world.bob, turnPort
	o.Metrics = s.admin.Metrics
	report, err := soak.Run(patient(t), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Errorf("%v\n%v", err, report)
	}
	return report
}

// The account can fail: what a firewall between drops is in no counter.
func TestUnexplainedLossIsSeen(t *testing.T) {
	const secret = "the secret of a load, 32 bytes and more"
	s := startRTCD(t, unlimited, change{"turn", settings{"secret_file": "", "secrets": []string{secret}}})
	t.Cleanup(func() {
		if err := world.net.Firewall(""); err != nil {
			t.Error(err)
		}
	})
	report, err := soak.Run(patient(t), soak.Options{
		Lab: world.net, Server: s.node, Client: world.alice, Peer: world.bob, Port: turnPort, Secret: secret,
		Metrics: s.admin.Metrics,
		Calls:   2, Outside: 4, Rate: 1000, Size: 200, For: time.Second,
		During: func() error { return world.net.Firewall("udp length 212 limit rate 20/second drop") }, // 8 + 4 + 200
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); report.Unexplained <= 0 || err == nil || !strings.Contains(err.Error(), "unexplained") {
		t.Errorf("a firewall dropped packets, and the account says %v\n%v", err, report)
	}
}
