package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rtcd/config"
	"rtcd/machine"
)

// patient is a doctor before a machine with these files, on which all is well else.
func patientOn(t *testing.T, files map[string]string) *doctor {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(config.Input{})
	if err != nil {
		t.Fatal(err)
	}
	return &doctor{config: c, senses: senses{
		Machine:       machine.Machine{Root: root},
		openFiles:     func() (uint64, bool) { return 1 << 20, true },
		receiveBuffer: func(want int) (int, bool) { return want, true },
		synchronized:  func() (yes, ok bool) { return true, true },
	}}
}

func (d *doctor) wantRow(t *testing.T, about string, s status, detail, remedy string) {
	t.Helper()
	for _, r := range d.rows {
		if r.About == about && r.Status == s && strings.Contains(r.Detail, detail) && strings.Contains(r.Remedy, remedy) && (remedy == "") == (r.Remedy == "") {
			return
		}
	}
	t.Errorf("no row %s %s %q → %q in %+v", s, about, detail, remedy, d.rows)
}

func TestAHealthyMachine(t *testing.T) {
	d := patientOn(t, map[string]string{
		"proc/sys/net/netfilter/nf_conntrack_max": "262144", "proc/sys/net/netfilter/nf_conntrack_count": "100",
		"proc/sys/net/ipv4/ip_local_port_range": "32768 49151",
	})
	d.examineMachine()
	d.examineClock(t.Context())
	for _, r := range d.rows {
		if r.Status != ok || r.Remedy != "" {
			t.Errorf("%+v", r)
		}
	}
	if len(d.rows) != 6 {
		t.Errorf("%d rows, want one for ports, files, buffers, connections, container and clock", len(d.rows))
	}
}

func TestBuffersThatLoseBursts(t *testing.T) {
	d := patientOn(t, nil)
	d.senses.receiveBuffer = func(int) (int, bool) { return 212992, true }
	d.examineBuffers()
	d.wantRow(t, "buffers", warn, "gets 212992 bytes", "net.core.rmem_max = 4194304")
}

func TestConnectionTrackingThatIsTooSmall(t *testing.T) {
	for _, c := range []struct{ most, count, remedy string }{
		{"16384", "5", "nf_conntrack_max = 65536"},        // four flows for each of 16384 ports
		{"262144", "262000", "nf_conntrack_max = 524000"}, // full of others'
	} {
		d := patientOn(t, map[string]string{
			"proc/sys/net/netfilter/nf_conntrack_max": c.most, "proc/sys/net/netfilter/nf_conntrack_count": c.count,
		})
		d.examineConntrack()
		d.wantRow(t, "conntrack", warn, "at most "+c.most+" connections, "+c.count+" now", c.remedy)
	}
}

func TestDockersBridge(t *testing.T) {
	d := patientOn(t, map[string]string{
		".dockerenv": "", "sys/class/net/eth0/ifindex": "2", "sys/class/net/eth0/iflink": "57",
	})
	d.examineContainer()
	d.wantRow(t, "container", warn, "Docker with a network of its own", "network_mode: host")
}

func TestPortsThatKnownProgramsHold(t *testing.T) {
	for holder, remedy := range map[string]string{
		"turnserver, process 812":  "systemctl disable --now coturn",
		"nginx, process 7":         `listen.http: "127.0.0.1:8080"`,
		"docker-proxy, process 99": "docker ps --filter publish=3478",
		"something, process 1":     "stop it, or choose another port in listen.turn",
		"":                         "ss -lnp 'sport = :3478'",
	} {
		if got := portRemedy(holder, "turn", 3478); !strings.Contains(got, remedy) {
			t.Errorf("%s: %s, want %s", holder, got, remedy)
		}
	}
}

func TestAClockThatNobodyKeeps(t *testing.T) {
	d := patientOn(t, nil)
	d.senses.synchronized = func() (yes, ok bool) { return false, true }
	d.examineClock(t.Context())
	d.wantRow(t, "clock", warn, "nothing keeps it right", "timedatectl set-ntp true")
}

// timeServer tells on loopback a time that is ahead, once.
func timeServer(t *testing.T, ahead time.Duration) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	// The loop owns it; one request, or the end of the socket, ends it.
	go func() {
		defer close(done)
		b := make([]byte, 48)
		if _, from, err := conn.ReadFrom(b); err == nil {
			conn.WriteTo(ntpAnswer(b, time.Now().Add(ahead)), from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return conn.LocalAddr().String()
}

// Time servers that are ahead, by as much as is worth a row.
func TestAClockThatIsOff(t *testing.T) {
	for _, c := range []struct {
		ahead          []time.Duration
		s              status
		detail, remedy string
	}{
		{[]time.Duration{2 * time.Minute}, fail, "behind", "timedatectl"},
		{[]time.Duration{-2 * time.Minute}, fail, "ahead of", "timedatectl"},
		{[]time.Duration{10 * time.Second}, warn, "behind", "timedatectl"},
		{[]time.Duration{0}, ok, "", ""},
		{[]time.Duration{2 * time.Minute, 2 * time.Minute}, fail, "behind", "timedatectl"},
		{[]time.Duration{0, 2 * time.Minute}, warn, "one of them is wrong", "--ntp"},
		{[]time.Duration{0, 0}, ok, "", ""},
	} {
		d := patientOn(t, nil)
		for _, ahead := range c.ahead {
			d.ntp = append(d.ntp, timeServer(t, ahead))
		}
		d.examineClock(t.Context())
		d.wantRow(t, "clock", c.s, c.detail, c.remedy)
	}
}

func ntpAnswer(request []byte, at time.Time) []byte {
	a := make([]byte, 48)
	a[0], a[1] = 4<<3|4, 1
	copy(a[24:32], request[40:48])
	for _, field := range [][]byte{a[32:], a[40:]} {
		binary.BigEndian.PutUint32(field, uint32(at.Unix()+2208988800))
		binary.BigEndian.PutUint32(field[4:], uint32(uint64(at.Nanosecond())<<32/uint64(time.Second)))
	}
	return a
}

func TestATimeServerThatIsSilent(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d := patientOn(t, nil)
	d.ntp = []string{conn.LocalAddr().String()}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	d.examineClock(ctx)
	d.wantRow(t, "clock", warn, "does not answer", "--ntp")
}

// Colours are for terminals; what goes into a file or a pipe has none.
func TestRowsInAFileHaveNoColour(t *testing.T) {
	d := patientOn(t, nil)
	d.row(fail, "port", "two\nlines", "do this")
	var b bytes.Buffer
	d.print(&b)
	if want := "fail  port         two\n                   lines\n                   → do this\n\n0 ok, 0 warn, 1 fail\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
