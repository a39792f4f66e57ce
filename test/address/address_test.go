package address

import (
	"errors"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"rtcd/test/lab"
)

// discovery asks the two STUN servers of the lab.
const discovery = "discovery: {enabled: true, every: 10s, stun: ['11.22.33.21:3478', '11.22.33.22:3478']}"

// Behind a home router two STUN servers tell the public address. When the provider changes it, the hub pushes new ICE
// servers and the next allocation has the new address; nobody has restarted anything.
func TestPublicAddressIsFoundAndFollowed(t *testing.T) {
	h := home(t, lab.PortRestricted)
	must(t, h.Forward(ports...))
	s := serve(t, h, discovery)
	first := h.Public()
	s.wantSaid(first.String() + " (11.22.33.21:3478 and 11.22.33.22:3478 agree, NATed to " + h.Client.IP4.String() + ")")
	s.await("address of relayed traffic has changed.*" + regexp.QuoteMeta(first.String()) + ".*because=.*agree")
	if check := s.run("check"); !strings.Contains(check, first.String()+" (11.22.33.21:3478 and 11.22.33.22:3478 agree") {
		t.Errorf("rtcd check does not tell:\n%s", check)
	}
	member := s.member()
	s.hears(member, "welcome", "turn:"+first.String()+":3478?transport=udp")
	if at := s.relays(first); at.Addr() != first {
		t.Errorf("relayed at %v", at)
	}

	must(t, h.Readdress())
	second := h.Public()
	if first == second {
		t.Fatal("the router has the same address")
	}
	s.hears(member, "ice", "turn:"+second.String()+":3478?transport=udp")
	if at := s.relays(second); at.Addr() != second {
		t.Errorf("relayed at %v after the address has changed", at)
	}
	if _, _, urls := s.credentials(); !strings.Contains(urls, second.String()) || strings.Contains(urls, first.String()) {
		t.Errorf("handed out: %s", urls)
	}
	s.wantMetric("rtcd_external_address_changes_total 2") // the first was from the local address
}

// Without leave nobody is asked, and the local address is offered.
func TestNobodyIsAskedWithoutLeave(t *testing.T) {
	h := home(t, lab.PortRestricted)
	asked, err := world.stun[0].ListenPacket(t.Context(), world.stun[0].IP4.String()+":19302")
	must(t, err)
	defer func() { _ = asked.Close() }()
	s := serve(t, h, "discovery: {stun: ['11.22.33.21:19302', '11.22.33.22:3478'], every: 10s}")
	s.wantSaid(h.Client.IP4.String() + " (default route)")
	if status := s.run("status"); strings.Contains(status, "asked") {
		t.Errorf("%s", status)
	}
	must(t, s.process.Interrupt(patient(t)))
	must(t, asked.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if n, _, err := asked.ReadFrom(make([]byte, 100)); err == nil {
		t.Errorf("a STUN server got %d bytes", n)
	}
}

// Leave to ask is given, and taken back, by a reload.
func TestLeaveIsGivenLive(t *testing.T) {
	h := home(t, lab.PortRestricted)
	s := serve(t, h, "discovery: {enabled: false}")
	s.wantSaid(h.Client.IP4.String() + " (default route)")
	s.configure(discovery)
	s.run("reload")
	s.wantSaid(h.Public().String() + " (11.22.33.21:3478 and 11.22.33.22:3478 agree")
	s.configure("external_ip: 203.0.113.77")
	s.run("reload")
	s.wantSaid("203.0.113.77 (turn.external_ip, NATed to")
	s.configure("discovery: {enabled: false}")
	s.run("reload")
	s.wantSaid(h.Client.IP4.String() + " (default route)")
}

// In a cloud its metadata service tells the address, here AWS's with its token.
func TestCloudTellsTheAddress(t *testing.T) {
	h := home(t, lab.PortRestricted)
	must(t, h.Forward(ports...))
	must(t, h.Client.Command(patient(t), "ip", "addr", "add", "169.254.169.254/32", "dev", "lo").Run())
	var l net.Listener
	must(t, h.Client.Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "169.254.169.254:80")
		return err
	}))
	service := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") != "":
			_, _ = w.Write([]byte("secret"))
		case r.URL.Path == "/latest/meta-data/public-ipv4" && r.Header.Get("X-aws-ec2-metadata-token") == "secret":
			_, _ = w.Write([]byte(h.Public().String()))
		default:
			http.Error(w, "", http.StatusUnauthorized)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- service.Serve(l) }() // the test owns it; Close ends it
	defer func() {
		must(t, service.Close())
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	s := serve(t, h, "discovery: {enabled: true, stun: ''}")
	s.wantSaid(h.Public().String() + " (metadata of AWS, NATed to " + h.Client.IP4.String() + ")")
	if at := s.relays(h.Public()); at.Addr() != h.Public() {
		t.Errorf("relayed at %v", at)
	}
}

// The machine moves to another network: the kernel tells, and everything is looked at anew, long before it is due.
func TestMachineMovesToAnotherNetwork(t *testing.T) {
	h := home(t, lab.PortRestricted)
	s := serve(t, h, strings.Replace(discovery, "every: 10s", "every: 1h", 1))
	s.wantSaid(h.Public().String() + " (11.22.33.21:3478 and")
	must(t, h.Roam())
	s.wantSaid(h.Public().String() + " (11.22.33.21:3478 and 11.22.33.22:3478 agree, NATed to " + h.Client.IP4.String() + ")")
}
