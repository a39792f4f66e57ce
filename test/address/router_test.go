package address

import (
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"rtcd/test/lab"
)

// opener is the part of a fake router that opens the real one.
type opener struct {
	t        *testing.T
	home     *lab.NAT
	external netip.Addr

	mu    sync.Mutex // guards ports
	ports []string   // as nftables matches
}

// open forwards a port, or no longer.
func (o *opener) open(protocol string, port uint16, on bool) {
	match := fmt.Sprintf("%s dport %d", protocol, port)
	o.mu.Lock()
	defer o.mu.Unlock()
	has := slices.Contains(o.ports, match)
	switch {
	case on == has:
		return
	case on:
		o.ports = append(o.ports, match)
	default:
		o.ports = slices.DeleteFunc(o.ports, func(m string) bool { return m == match })
	}
	if err := o.home.Forward(o.ports...); err != nil {
		o.t.Error(err)
	}
}

func (o *opener) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.ports)
}

// servePMP is a NAT-PMP router (RFC 6886) in the gateway of a home.
func (o *opener) servePMP(t *testing.T) {
	gateway := o.home.Client.IP4.As4()
	gateway[3] = 1
	conn, err := o.home.Gateway().ListenPacket(t.Context(), netip.AddrPortFrom(netip.AddrFrom4(gateway), 5351).String())
	must(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	// The test owns it; closing the socket ends it.
	go func() {
		defer close(done)
		buf := make([]byte, 100)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			answer := []byte{0, 0x80 | buf[1], 0, 0, 0, 0, 0, 1}
			switch n {
			case 2:
				ip := o.external.As4()
				answer = append(answer, ip[:]...)
			case 12:
				port, life := binary.BigEndian.Uint16(buf[4:]), binary.BigEndian.Uint32(buf[8:])
				o.open(map[byte]string{1: "udp", 2: "tcp"}[buf[1]], port, life > 0)
				answer = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(answer, port), port)
				answer = binary.BigEndian.AppendUint32(answer, life)
			}
			_, _ = conn.WriteTo(answer, from) // it asks again
		}
	}()
}

// serveUPnP is a UPnP router in the gateway of a home: it answers the search for one, describes itself and opens ports.
func (o *opener) serveUPnP(t *testing.T) {
	gateway := o.home.Client.IP4.As4()
	gateway[3] = 1
	at := netip.AddrFrom4(gateway)
	var l net.Listener
	var search *net.UDPConn
	must(t, o.home.Gateway().Do(func() (err error) {
		if l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", at.String()+":0"); err != nil {
			return err
		}
		lan, err := net.InterfaceByName("lan")
		if err != nil {
			return err
		}
		search, err = net.ListenMulticastUDP("udp4", lan, &net.UDPAddr{IP: net.IPv4(239, 255, 255, 250), Port: 1900})
		return err
	}))
	server := &http.Server{Handler: http.HandlerFunc(o.describe)}
	served, searched := make(chan error, 1), make(chan struct{})
	go func() { served <- server.Serve(l) }() // the test owns it; Close ends it
	// The test owns it; closing the socket ends it.
	go func() {
		defer close(searched)
		buf := make([]byte, 1500)
		for {
			n, from, err := search.ReadFrom(buf)
			if err != nil {
				return
			}
			kind := regexp.MustCompile(`(?mi)^ST: (.*InternetGatewayDevice:1)\r?$`).FindSubmatch(buf[:n])
			if kind == nil {
				continue
			}
			_, _ = search.WriteTo(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: %s\r\nUSN: uuid:1::%[1]s\r\nEXT:\r\n"+
				"SERVER: fake\r\nLOCATION: http://%s/root.xml\r\n\r\n", kind[1], l.Addr()), from)
		}
	}()
	t.Cleanup(func() {
		_ = search.Close()
		<-searched
		must(t, server.Close())
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

const wanIP = "urn:schemas-upnp-org:service:WANIPConnection:1"

var argument = regexp.MustCompile(`<(New\w+)>([^<]*)</`)

func (o *opener) describe(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/root.xml" {
		_, _ = fmt.Fprint(w, `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><UDN>uuid:1</UDN><serviceList><service><serviceType>`+wanIP+
			`</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId><controlURL>/control</controlURL></service></serviceList></device></root>`)
		return
	}
	body, _ := io.ReadAll(r.Body)
	args := map[string]string{}
	for _, m := range argument.FindAllStringSubmatch(string(body), -1) {
		args[m[1]] = m[2]
	}
	action := strings.Trim(strings.TrimPrefix(r.Header.Get("Soapaction"), `"`+wanIP+"#"), `"`)
	var port uint16
	_, _ = fmt.Sscan(args["NewExternalPort"], &port)
	answer := ""
	switch action {
	case "GetExternalIPAddress":
		answer = "<NewExternalIPAddress>" + o.external.String() + "</NewExternalIPAddress>"
	case "AddPortMapping", "DeletePortMapping":
		o.open(strings.ToLower(args["NewProtocol"]), port, action == "AddPortMapping")
	}
	_, _ = fmt.Fprintf(w, `%s<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><u:%sResponse xmlns:u="%s">%s</u:%[2]sResponse></s:Body></s:Envelope>`,
		xml.Header, action, wanIP, answer)
}

// A home router is asked to forward the ports, which nobody has done by hand: then clients outside reach the relay, at
// the address that the router itself has told. With the process the mappings end.
func TestRouterForwardsThePorts(t *testing.T) {
	for name, start := range map[string]func(*opener, *testing.T){"NAT-PMP": (*opener).servePMP, "UPnP": (*opener).serveUPnP} {
		t.Run(name, func(t *testing.T) {
			h := home(t, lab.PortRestricted)
			o := &opener{t: t, home: h, external: h.Public()}
			start(o, t)
			s := serve(t, h, "port_mapping: auto")
			gateway := strings.TrimSuffix(h.Client.IP4.String(), "2") + "1"
			s.wantSaid(fmt.Sprintf("%s at %s has %s and forwards 13 ports", name, gateway, h.Public()))
			s.wantSaid(fmt.Sprintf("%s (%s at %s has it, NATed to %s)", h.Public(), name, gateway, h.Client.IP4))
			if at := s.relays(h.Public()); at.Addr() != h.Public() {
				t.Errorf("relayed at %v", at)
			}
			must(t, s.process.Interrupt(patient(t)))
			if n := o.count(); n != 0 {
				t.Errorf("%d ports are still forwarded after the end", n)
			}
		})
	}
}

// Behind the provider's NAT the router may open what it likes: that is told, with what helps.
func TestProvidersNAT(t *testing.T) {
	h := home(t, lab.FullCone, lab.PortRestricted)
	o := &opener{t: t, home: h, external: h.Gateway().IP4} // 100.64.0.0/10
	o.servePMP(t)
	s := serve(t, h, "port_mapping: auto, "+discovery)
	s.wantSaid(h.Public().String() + " (11.22.33.21:3478 and")
	s.wantSaid("has itself only " + o.external.String() + ", behind the provider's NAT (CGNAT)")
	if check := s.run("check"); !strings.Contains(check, "behind the provider's NAT (CGNAT)") {
		t.Errorf("rtcd check does not tell:\n%s", check)
	}
	s.await("behind the provider's NAT")
}
