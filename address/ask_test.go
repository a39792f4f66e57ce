package address

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/stun/v3"
)

// stunServer answers Binding requests with what reply makes of them; nil is silence.
func stunServer(t *testing.T, network string, reply func(n int, req *stun.Message, from netip.AddrPort) *stun.Message) string {
	t.Helper()
	at := "127.0.0.1:0"
	if network == "udp6" {
		at = "[::1]:0"
	}
	conn, err := net.ListenPacket(network, at)
	if err != nil {
		t.Skipf("%s: %v", network, err)
	}
	t.Cleanup(func() { conn.Close() })
	// The test owns it; closing the socket ends it.
	go func() {
		buf := make([]byte, 1500)
		for n := 0; ; n++ {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			req := &stun.Message{Raw: slices.Clone(buf[:size])}
			if req.Decode() != nil || req.Type != stun.BindingRequest {
				t.Errorf("no Binding request: %x", buf[:size])
				return
			}
			if m := reply(n, req, from.(*net.UDPAddr).AddrPort()); m != nil {
				conn.WriteTo(m.Raw, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func success(req *stun.Message, addr string) *stun.Message {
	return stun.MustBuild(req, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.ParseIP(addr), Port: 1234}, stun.Fingerprint)
}

func saying(addr string) func(int, *stun.Message, netip.AddrPort) *stun.Message {
	return func(_ int, req *stun.Message, _ netip.AddrPort) *stun.Message { return success(req, addr) }
}

func TestAskSTUN(t *testing.T) {
	slow := func(n int, req *stun.Message, _ netip.AddrPort) *stun.Message {
		if n == 0 { // the first request is lost
			return nil
		}
		return success(req, "203.0.113.6")
	}
	old := func(_ int, req *stun.Message, _ netip.AddrPort) *stun.Message {
		return stun.MustBuild(req, stun.BindingSuccess, &stun.MappedAddress{IP: net.ParseIP("203.0.113.7"), Port: 1})
	}
	echoes := func(_ int, req *stun.Message, from netip.AddrPort) *stun.Message {
		return success(req, from.Addr().String())
	}
	port := func(s string) string { return s[strings.LastIndex(s, ":")+1:] }
	a, b, c, d := stunServer(t, "udp4", saying("203.0.113.5")), stunServer(t, "udp4", slow), stunServer(t, "udp4", old), stunServer(t, "udp4", echoes)
	lookup := func(_ context.Context, name string) ([]netip.Addr, error) {
		if name != "stun.example" {
			return nil, &net.DNSError{Err: "no such host", Name: name}
		}
		return addrs("2a11::1", "127.0.0.1"), nil
	}
	named := "stun.example:" + port(a)
	got, silent := askSTUN(t.Context(), []string{a, b, c, d, named, "absent.example:3478"}, [2]bool{true, false}, lookup)
	want := []Claim{
		{STUN, a, addrs("203.0.113.5")[0]},
		{STUN, b, addrs("203.0.113.6")[0]},
		{STUN, c, addrs("203.0.113.7")[0]},
		{STUN, d, addrs("127.0.0.1")[0]},
		{STUN, named, addrs("203.0.113.5")[0]},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(x, y netip.Addr) bool { return x == y })); diff != "" {
		t.Error(diff)
	}
	if len(silent) != 1 || !strings.HasPrefix(silent[0], "absent.example:3478: ") {
		t.Errorf("silent: %q", silent)
	}
}

// Each family is asked by itself.
func TestAskSTUNOverIPv6(t *testing.T) {
	six, four := stunServer(t, "udp6", saying("2a11::9")), stunServer(t, "udp4", saying("203.0.113.5"))
	wrong := stunServer(t, "udp6", saying("203.0.113.5")) // an IPv4 address to an IPv6 request
	got, silent := askSTUN(t.Context(), []string{six, four}, [2]bool{true, true}, Lookup)
	if len(got) != 2 || got[0].By != four || got[1] != (Claim{STUN, six, addrs("2a11::9")[0]}) {
		t.Errorf("%v", got)
	}
	if len(silent) != 1 { // the one that has no IPv4 address
		t.Errorf("silent: %q", silent)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got, _ := askSTUN(ctx, []string{wrong}, [2]bool{false, true}, Lookup); len(got) != 0 {
		t.Errorf("believed %v", got)
	}
}

// Only the server that was asked is believed, and only about this request.
func TestForgedSTUNAnswers(t *testing.T) {
	forger, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	asked := make(chan struct{}, 1)
	server := stunServer(t, "udp4", func(_ int, req *stun.Message, from netip.AddrPort) *stun.Message {
		forger.WriteTo(success(req, "203.0.113.66").Raw, net.UDPAddrFromAddrPort(from)) // knows the transaction, not the address
		select {
		case asked <- struct{}{}:
		default:
		}
		other := stun.MustBuild(stun.TransactionID, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.ParseIP("203.0.113.66"), Port: 1})
		return other
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // the test owns it; the request ends it
		<-asked
		time.AfterFunc(50*time.Millisecond, cancel) // what was sent on loopback has arrived by then
	}()
	if got, silent := askSTUN(ctx, []string{server}, [2]bool{true, false}, Lookup); len(got) != 0 || len(silent) != 1 {
		t.Errorf("%v %q", got, silent)
	}
}

// metadata is a metadata service that answers like those of the clouds that it holds.
type metadata map[string]string // method, host and path (and what the request has to prove) → answer

func (m metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Method + " " + r.Host + r.URL.RequestURI()
	for _, name := range []string{"X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token", "Metadata", "Metadata-Flavor"} {
		if v := r.Header.Get(name); v != "" {
			key += " " + name + "=" + v
		}
	}
	answer, ok := m[key]
	switch {
	case !ok:
		http.NotFound(w, r)
	case answer == "hang":
		<-r.Context().Done()
	default:
		if strings.Contains(key, "computeMetadata") {
			w.Header().Set("Metadata-Flavor", "Google")
		}
		fmt.Fprint(w, answer)
	}
}

// TestAskMetadata asks a fake of every cloud, with what its documentation demands.
func TestAskMetadata(t *testing.T) {
	const aws, azure = "169.254.169.254/latest/meta-data/public-ipv4", "169.254.169.254/metadata/"
	for _, c := range []struct {
		name    string
		service metadata
		want    string
	}{
		{"AWS, which wants a token", metadata{
			"PUT 169.254.169.254/latest/api/token X-aws-ec2-metadata-token-ttl-seconds=60": "TOKEN",
			"GET " + aws + " X-aws-ec2-metadata-token=TOKEN":                               "203.0.113.5\n",
		}, "AWS 203.0.113.5"},
		{"Google Cloud", metadata{
			"GET metadata.google.internal/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip Metadata-Flavor=Google": "203.0.113.5",
		}, "Google Cloud 203.0.113.5"},
		{"Azure", metadata{
			"GET " + azure + "instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text Metadata=true": "203.0.113.5",
		}, "Azure 203.0.113.5"},
		{"Azure, with a Standard address", metadata{
			"GET " + azure + "instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text Metadata=true": "",
			"GET " + azure + "loadbalancer?api-version=2020-10-01&format=json Metadata=true": `{"loadbalancer":{"publicIpAddresses":[` +
				`{"frontendIpAddress":"2a11::1","privateIpAddress":"fd00::4"},{"frontendIpAddress":"203.0.113.7","privateIpAddress":"10.0.0.4"}],"inboundRules":[]}}`,
		}, "Azure 203.0.113.7"},
		{"Hetzner", metadata{"GET 169.254.169.254/hetzner/v1/metadata/public-ipv4": "203.0.113.5"}, "Hetzner 203.0.113.5"},
		{"DigitalOcean, a reserved address before the machine's", metadata{
			"GET 169.254.169.254/metadata/v1/reserved_ip/ipv4/ip_address":      "203.0.113.8",
			"GET 169.254.169.254/metadata/v1/interfaces/public/0/ipv4/address": "203.0.113.5",
		}, "DigitalOcean 203.0.113.8"},
		{"DigitalOcean", metadata{"GET 169.254.169.254/metadata/v1/interfaces/public/0/ipv4/address": "203.0.113.5"}, "DigitalOcean 203.0.113.5"},
		{"Aliyun, an elastic address", metadata{"GET 100.100.100.200/latest/meta-data/eipv4": "203.0.113.5"}, "Aliyun 203.0.113.5"},
		{"Aliyun", metadata{
			"GET 100.100.100.200/latest/meta-data/eipv4": "", "GET 100.100.100.200/latest/meta-data/public-ipv4": "203.0.113.6",
		}, "Aliyun 203.0.113.6"},
		{"Tencent", metadata{"GET metadata.tencentyun.com/latest/meta-data/public-ipv4": "203.0.113.5"}, "Tencent 203.0.113.5"},
		{"OpenStack", metadata{"GET " + aws: "203.0.113.5"}, "OpenStack 203.0.113.5"},
		{"a machine without a public address", metadata{"GET " + aws: ""}, ""},
		{"nonsense", metadata{"GET " + aws: "<html>Sign in to the wireless network</html>"}, ""},
		{"one that hangs beside one that does not", metadata{
			"GET " + aws: "hang", "GET 169.254.169.254/hetzner/v1/metadata/public-ipv4": "203.0.113.5",
		}, "Hetzner 203.0.113.5"},
		{"no cloud", metadata{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(c.service)
			defer server.Close()
			dial := func(ctx context.Context, network, address string) (net.Conn, error) {
				if host, _, _ := strings.Cut(address, ":"); host != linkLocal && host != "100.100.100.200" && host != "169.254.0.23" {
					t.Errorf("%s is asked", address)
				}
				return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
			}
			wait := time.Minute
			if slices.Contains(slices.Collect(maps.Values(c.service)), "hang") {
				wait = 3 * time.Second // all of it
			}
			var got []string
			for _, c := range askMetadata(t.Context(), dial, wait) {
				got = append(got, c.By+" "+c.Addr.String())
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("%q, want %q", s, c.want)
			}
		})
	}
}

// Where nothing is, asking ends with its budget.
func TestMetadataBudget(t *testing.T) {
	dials := make(chan string, 100)
	dial := func(ctx context.Context, _, address string) (net.Conn, error) {
		dials <- address
		<-ctx.Done() // what no packet comes back from
		return nil, ctx.Err()
	}
	if got := askMetadata(t.Context(), dial, metadataWait); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if len(dials) != len(clouds) {
		t.Errorf("%d were asked at once, want all %d", len(dials), len(clouds))
	}
	if got := askMetadata(t.Context(), func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("unreachable") }, metadataWait); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
