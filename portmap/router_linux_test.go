package portmap

import (
	"context"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// pmpServer is a fake of a NAT-PMP router (RFC 6886), as answer has it.
func pmpServer(t *testing.T, answer func(req []byte) []byte) netip.Addr {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("all of 127.0.0.0/8 is this machine's on Linux only")
	}
	at := netip.MustParseAddr("127.0.53.51") // the port is fixed, so the address is one of our own
	conn, err := net.ListenPacket("udp4", netip.AddrPortFrom(at, 5351).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	// The test owns it; closing the socket ends it.
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if a := answer(buf[:n]); a != nil {
				conn.WriteTo(a, from)
			}
		}
	}()
	return at
}

// pmpAnswer is an answer with a result code, the seconds since the epoch, and more.
func pmpAnswer(op byte, result uint16, more ...byte) []byte {
	out := []byte{0, 0x80 | op, byte(result >> 8), byte(result), 0, 0, 1, 0}
	return append(out, more...)
}

func TestNATPMP(t *testing.T) {
	var mu sync.Mutex // guards mapped
	mapped := map[string]uint32{}
	at := pmpServer(t, func(req []byte) []byte {
		if len(req) == 2 {
			return pmpAnswer(0, 0, 203, 0, 113, 5)
		}
		if len(req) != 12 || req[0] != 0 || req[1] != 1 && req[1] != 2 {
			t.Errorf("request %x", req)
			return nil
		}
		internal, external, life := binary.BigEndian.Uint16(req[4:]), binary.BigEndian.Uint16(req[6:]), binary.BigEndian.Uint32(req[8:])
		key := fmt.Sprint(Port{map[byte]string{1: "udp", 2: "tcp"}[req[1]], internal})
		switch internal {
		case 80:
			return pmpAnswer(req[1], 2, 0, 80, 0, 0, 0, 0, 0, 0) // not authorized
		case 81:
			external++ // somebody has it
		}
		mu.Lock()
		defer mu.Unlock()
		if mapped[key] = life; life == 0 {
			delete(mapped, key)
		}
		out := pmpAnswer(req[1], 0)
		out = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(out, internal), external)
		return binary.BigEndian.AppendUint32(out, life)
	})
	r, err := pmpAt(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := r.External(t.Context()); err != nil || a.String() != "203.0.113.5" || r.Name() != "NAT-PMP at 127.0.53.51" {
		t.Errorf("%v %v %s", a, err, r.Name())
	}
	for _, p := range []Port{{"udp", 3478}, {"tcp", 3478}, {"udp", 49152}} {
		if err := r.Map(t.Context(), p, time.Hour); err != nil {
			t.Error(err)
		}
	}
	if err := r.Map(t.Context(), Port{"tcp", 80}, time.Hour); err == nil || errors.Is(err, errSilent) || !strings.Contains(err.Error(), "Not Authorized") {
		t.Errorf("a refused port: %v", err)
	}
	if err := r.Map(t.Context(), Port{"udp", 81}, time.Hour); err == nil || !strings.Contains(err.Error(), "only another port") {
		t.Errorf("a taken port: %v", err)
	}
	if err := r.Unmap(t.Context(), Port{"udp", 49152}); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(mapped) != 2 || mapped["3478/udp"] != 3600 || mapped["3478/tcp"] != 3600 {
		t.Errorf("mapped %v", mapped)
	}
}

func TestNoNATPMP(t *testing.T) {
	silent := pmpServer(t, func([]byte) []byte { return nil })
	if _, err := pmpAt(t.Context(), silent); !errors.Is(err, errSilent) {
		t.Errorf("silent: %v", err)
	}
	if _, err := pmpAt(t.Context(), netip.MustParseAddr("127.0.53.52")); !errors.Is(err, errSilent) {
		t.Errorf("nothing listens: %v", err)
	}
}

// A router of the successor's kind alone says so.
func TestPCPAlone(t *testing.T) {
	at := pmpServer(t, func(req []byte) []byte { return append([]byte{2, 0x80, 0, 1}, make([]byte, 12)...) })
	if _, err := pmpAt(t.Context(), at); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("%v", err)
	}
}

// fakeIGD is a router that speaks UPnP.
type fakeIGD struct {
	t        *testing.T
	kind     string // of its connection
	external string
	control  string // where it is controlled, "" for the same host
	lease    bool   // it supports leases

	mu     sync.Mutex // guards mapped
	mapped map[string]string
}

var argument = regexp.MustCompile(`<(New\w+)>([^<]*)</`)

func (f *fakeIGD) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/root.xml" {
		fmt.Fprintf(w, `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><friendlyName>fake</friendlyName><UDN>uuid:1</UDN><deviceList>
<device><deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><UDN>uuid:2</UDN><deviceList>
<device><deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><UDN>uuid:3</UDN><serviceList>
<service><serviceType>%s</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<SCPDURL>/scpd.xml</SCPDURL><controlURL>%s/control</controlURL><eventSubURL>/event</eventSubURL></service>
</serviceList></device></deviceList></device></deviceList></device></root>`, f.kind, f.control)
		return
	}
	body, _ := io.ReadAll(r.Body)
	args := map[string]string{}
	for _, m := range argument.FindAllStringSubmatch(string(body), -1) {
		args[m[1]] = m[2]
	}
	action := strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("SOAPACTION"), `"`+f.kind+"#"), `"`)
	answer, fault := f.act(action, args)
	w.Header().Set("Content-Type", "text/xml")
	if fault != 0 {
		w.WriteHeader(http.StatusInternalServerError)
		answer = fmt.Sprintf(`<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0">`+
			`<errorCode>%d</errorCode><errorDescription>because</errorDescription></UPnPError></detail></s:Fault>`, fault)
	} else {
		answer = fmt.Sprintf(`<u:%sResponse xmlns:u="%s">%s</u:%[1]sResponse>`, action, f.kind, answer)
	}
	fmt.Fprintf(w, `%s<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>%s</s:Body></s:Envelope>`, xml.Header, answer)
}

func (f *fakeIGD) act(action string, args map[string]string) (answer string, fault int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := args["NewExternalPort"] + "/" + args["NewProtocol"]
	switch action {
	case "GetExternalIPAddress":
		return "<NewExternalIPAddress>" + f.external + "</NewExternalIPAddress>", 0
	case "AddPortMapping":
		switch {
		case args["NewExternalPort"] == "81":
			return "", conflict
		case args["NewExternalPort"] == "82":
			return "", 606 // not authorized
		case !f.lease && args["NewLeaseDuration"] != "0":
			return "", onlyPermanent
		case args["NewInternalPort"] != args["NewExternalPort"] || args["NewEnabled"] != "1":
			f.t.Errorf("%v", args)
		}
		f.mapped[key] = args["NewInternalClient"] + " for " + args["NewLeaseDuration"]
	case "DeletePortMapping":
		if _, ok := f.mapped[key]; !ok {
			return "", noSuchEntry
		}
		delete(f.mapped, key)
	default:
		f.t.Errorf("action %q", action)
	}
	return "", 0
}

func (f *fakeIGD) start(t *testing.T) *url.URL {
	f.t, f.mapped = t, map[string]string{}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	loc, err := url.Parse(server.URL + "/root.xml")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestUPnP(t *testing.T) {
	for _, kind := range []string{"WANIPConnection:1", "WANIPConnection:2", "WANPPPConnection:1"} {
		for _, lease := range []bool{true, false} {
			f := &fakeIGD{kind: "urn:schemas-upnp-org:service:" + kind, external: "203.0.113.5", lease: lease}
			r, err := igdAt(t.Context(), f.start(t))
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if a, err := r.External(t.Context()); err != nil || a.String() != "203.0.113.5" || r.Name() != "UPnP at 127.0.0.1" {
				t.Errorf("%s: %v %v %s", kind, a, err, r.Name())
			}
			for range 2 { // the second time renews
				for _, p := range []Port{{"udp", 3478}, {"tcp", 3478}, {"udp", 49152}} {
					if err := r.Map(t.Context(), p, time.Hour); err != nil {
						t.Errorf("%s: %v", kind, err)
					}
				}
			}
			if err := r.Map(t.Context(), Port{"tcp", 81}, time.Hour); err == nil || err.Error() != "somebody else in this network has it" {
				t.Errorf("a taken port: %v", err)
			}
			if err := r.Map(t.Context(), Port{"tcp", 82}, time.Hour); err == nil || errors.Is(err, errSilent) || !strings.Contains(err.Error(), "error 606 because") {
				t.Errorf("a refused port: %v", err)
			}
			for range 2 { // the second time there is none left
				if err := r.Unmap(t.Context(), Port{"udp", 49152}); err != nil {
					t.Error(err)
				}
			}
			want := "127.0.0.1 for 3600"
			if !lease {
				want = "127.0.0.1 for 0"
			}
			if len(f.mapped) != 2 || f.mapped["3478/UDP"] != want || f.mapped["3478/TCP"] != want {
				t.Errorf("%s: mapped %v, want %q", kind, f.mapped, want)
			}
		}
	}
}

// A device that is none, or that leads somewhere else, is left alone.
func TestStrangeUPnP(t *testing.T) {
	const kind = "urn:schemas-upnp-org:service:WANIPConnection:1"
	for name, c := range map[string]struct {
		device *fakeIGD
		reason string
	}{
		"not connected":     {&fakeIGD{kind: kind, external: ""}, "no address outside"},
		"not up":            {&fakeIGD{kind: kind, external: "0.0.0.0"}, "no address outside"},
		"a media server":    {&fakeIGD{kind: "urn:schemas-upnp-org:service:ContentDirectory:1"}, "no WAN connection"},
		"leads elsewhere":   {&fakeIGD{kind: kind, external: "203.0.113.5", control: "http://192.168.1.77"}, "controlled elsewhere"},
		"leads to a public": {&fakeIGD{kind: kind, external: "203.0.113.5", control: "http://203.0.113.9"}, "controlled elsewhere"},
	} {
		if _, err := igdAt(t.Context(), c.device.start(t)); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v, want %s", name, err, c.reason)
		}
	}
	huge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `<root xmlns="urn:schemas-upnp-org:device-1-0"><device>`)
		for range 100 {
			if _, err := io.WriteString(w, strings.Repeat("<x></x>", 10000)); err != nil {
				return
			}
		}
	}))
	defer huge.Close()
	loc, _ := url.Parse(huge.URL)
	if _, err := igdAt(t.Context(), loc); err == nil {
		t.Error("an endless description is read")
	}
	for _, u := range []string{"http://203.0.113.5/root.xml", "http://router.example/root.xml"} {
		loc, _ := url.Parse(u)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := igdAt(ctx, loc); err == nil || !strings.Contains(err.Error(), "not an address of a local network") {
			t.Errorf("%s: %v", u, err)
		}
	}
}

func TestDefaultGateway(t *testing.T) {
	const head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	for _, c := range []struct{ table, want string }{
		{"eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\neth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", "192.168.1.1"},
		{"wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\neth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n", "192.168.1.1"},
		{"ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n", ""},
		{"nonsense\n\n", ""},
	} {
		got, err := parseRoutes(strings.NewReader(head + c.table))
		if c.want == "" && err == nil || c.want != "" && got.String() != c.want {
			t.Errorf("%q: %v %v", c.table, got, err)
		}
	}
}
