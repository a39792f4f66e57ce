package machine

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rtcd/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/machine") }

// with is a machine whose files are these.
func with(t *testing.T, files map[string]string) Machine {
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
	return Machine{Root: root}
}

func TestAnEmptyMachineTellsNothing(t *testing.T) {
	m := with(t, nil)
	_, _, ports := m.LocalPorts()
	_, _, conntrack := m.Conntrack()
	_, sysctl := m.Sysctl("net.core.rmem_max")
	if ports || conntrack || sysctl || m.Container() != "" || m.Bridged() || m.Reserves(1, 2) || m.Reserved() != "" {
		t.Error("something is known of a machine without files")
	}
}

func TestReservedPorts(t *testing.T) {
	for _, c := range []struct {
		setting   string
		low, high uint16
		want      bool
	}{
		{"", 1, 1, false},
		{"49152-60999", 49152, 60999, true},
		{"49152-60999", 50000, 50001, true},
		{"49152-60999", 49151, 60999, false},
		{"49152-60999", 49152, 61000, false},
		{"80,443,49152-50000,50001-60999", 49152, 60999, true},
		{"80,443,49152-50000,50002-60999", 49152, 60999, false},
		{"443", 443, 443, true},
		{"1-65535", 1, 65535, true},
		{"nonsense,-,5-", 5, 5, false},
	} {
		m := with(t, map[string]string{"proc/sys/net/ipv4/ip_local_reserved_ports": c.setting + "\n"})
		if got := m.Reserves(c.low, c.high); got != c.want {
			t.Errorf("%q reserves %d-%d: %v", c.setting, c.low, c.high, got)
		}
	}
}

func TestLocalPorts(t *testing.T) {
	for text, want := range map[string]bool{"32768\t60999\n": true, "60999 32768": false, "1": false, "a b": false, "1 65536": false} {
		low, high, ok := with(t, map[string]string{"proc/sys/net/ipv4/ip_local_port_range": text}).LocalPorts()
		if ok != want || ok && (low != 32768 || high != 60999) {
			t.Errorf("%q: %d %d %v", text, low, high, ok)
		}
	}
}

func TestConntrack(t *testing.T) {
	m := with(t, map[string]string{
		"proc/sys/net/netfilter/nf_conntrack_max": "65536\n", "proc/sys/net/netfilter/nf_conntrack_count": "17\n",
	})
	if count, most, ok := m.Conntrack(); count != 17 || most != 65536 || !ok {
		t.Errorf("%d of %d, %v", count, most, ok)
	}
}

func TestContainers(t *testing.T) {
	cable := map[string]string{
		"sys/class/net/lo/ifindex": "1", "sys/class/net/lo/iflink": "1",
		"sys/class/net/eth0/ifindex": "2", "sys/class/net/eth0/iflink": "57",
	}
	card := map[string]string{
		"sys/class/net/lo/ifindex": "1", "sys/class/net/lo/iflink": "1",
		"sys/class/net/eth0/ifindex": "2", "sys/class/net/eth0/iflink": "2",
		"sys/class/net/veth1/ifindex": "9", "sys/class/net/veth1/iflink": "8",
	}
	for _, c := range []struct {
		name    string
		files   map[string]string
		net     map[string]string
		kind    string
		bridged bool
	}{
		{"Docker's bridge", map[string]string{".dockerenv": ""}, cable, "Docker", true},
		{"Docker with the host's network", map[string]string{".dockerenv": ""}, card, "Docker", false},
		{"Podman", map[string]string{"run/.containerenv": ""}, cable, "Podman", true},
		{"Kubernetes", map[string]string{"proc/1/cgroup": "0::/kubepods/burstable/pod1"}, cable, "kubepods", true},
		{"none", map[string]string{"proc/1/cgroup": "0::/init.scope"}, card, "", false},
		{"no network", nil, map[string]string{"sys/class/net/lo/ifindex": "1", "sys/class/net/lo/iflink": "1"}, "", false},
	} {
		files := map[string]string{}
		for _, part := range []map[string]string{c.files, c.net} {
			for name, text := range part {
				files[name] = text
			}
		}
		m := with(t, files)
		if m.Container() != c.kind || m.Bridged() != c.bridged {
			t.Errorf("%s: %q, bridged %v", c.name, m.Container(), m.Bridged())
		}
	}
}

// timeServer answers once as f makes of the request, on loopback.
func timeServer(t *testing.T, f func(request []byte) []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	// The test owns it; an answer, or closing the socket, ends it.
	go func() {
		defer close(done)
		request := make([]byte, 100)
		n, from, err := conn.ReadFrom(request)
		if err != nil {
			return
		}
		if answer := f(request[:n]); answer != nil {
			conn.WriteTo(append([]byte("noise"), make([]byte, 60)...), from) // not ours
			conn.WriteTo(answer, from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().String()
}

func answer(request []byte, at time.Time) []byte {
	a := make([]byte, 48)
	a[0], a[1] = 4<<3|4, 2
	copy(a[24:32], request[40:48])
	for _, field := range [][]byte{a[32:], a[40:]} {
		binary.BigEndian.PutUint32(field, uint32(at.Unix()+2208988800))
		binary.BigEndian.PutUint32(field[4:], uint32(uint64(at.Nanosecond())<<32/uint64(time.Second)))
	}
	return a
}

func TestOffset(t *testing.T) {
	for _, off := range []time.Duration{0, 3 * time.Hour, -90 * time.Second, 20 * 365 * 24 * time.Hour} {
		server := timeServer(t, func(r []byte) []byte { return answer(r, time.Now().Add(off)) })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		got, err := Offset(ctx, server)
		cancel()
		if err != nil || (got-off).Abs() > 10*time.Second {
			t.Errorf("a clock that is off by %s: %s, error %v", off, got, err)
		}
	}
}

func TestOffsetRefusesWhatIsNoTime(t *testing.T) {
	for name, c := range map[string]struct {
		change   func([]byte)
		patience time.Duration
		want     string
	}{
		"a refusal":               {func(a []byte) { a[1] = 0 }, time.Minute, "no time to give"},
		"a server without a time": {func(a []byte) { a[0] |= 3 << 6 }, time.Minute, "no time to give"},
		"somebody else's answer":  {func(a []byte) { a[24]++ }, 500 * time.Millisecond, "does not answer"},
		"a request":               {func(a []byte) { a[0] = 4<<3 | 3 }, 500 * time.Millisecond, "does not answer"},
	} {
		server := timeServer(t, func(r []byte) []byte {
			a := answer(r, time.Now())
			c.change(a)
			return a
		})
		ctx, cancel := context.WithTimeout(t.Context(), c.patience)
		_, err := Offset(ctx, server)
		cancel()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}
