package portmap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway2"
	"github.com/huin/goupnp/soap"
)

// upnpWait is how long a router may take to answer one request.
const upnpWait = 3 * time.Second

// maxDescription bounds what a device of the local network may tell, in bytes.
const maxDescription = 256 << 10

// local fetches from devices of the local network: not through a proxy, nothing huge,
// and from nowhere that a device points to.
type local struct{ base *http.Transport }

func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	addr, err := netip.ParseAddr(r.URL.Hostname())
	if err != nil || !addr.IsPrivate() && !addr.IsLinkLocalUnicast() && !addr.IsLoopback() {
		return nil, fmt.Errorf("%s: not an address of a local network", r.URL.Host)
	}
	answer, err := l.base.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, maxDescription), answer.Body}
	}
	return answer, err
}

var localClient = sync.OnceValue(func() *http.Client {
	c := &http.Client{
		Transport: local{&http.Transport{DisableKeepAlives: true}}, Timeout: upnpWait,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	goupnp.HTTPClientDefault = c // for descriptions
	return c
})

// connection is what the kinds of WAN connections have in common.
type connection interface {
	GetServiceClient() *goupnp.ServiceClient
	GetExternalIPAddressCtx(ctx context.Context) (string, error)
	AddPortMappingCtx(ctx context.Context, remoteHost string, externalPort uint16, protocol string,
		internalPort uint16, internalClient string, enabled bool, description string, lease uint32) error
	DeletePortMappingCtx(ctx context.Context, remoteHost string, externalPort uint16, protocol string) error
}

// igd is a router that speaks UPnP IGD.
type igd struct {
	connection
	host string // where it is
	here string // our address towards it
}

// findUPnP searches the local network for a router.
func findUPnP(ctx context.Context) (Router, error) {
	localClient()
	kinds := []string{"urn:schemas-upnp-org:device:InternetGatewayDevice:1", "urn:schemas-upnp-org:device:InternetGatewayDevice:2"}
	found := make([][]goupnp.MaybeRootDevice, len(kinds))
	errs := make([]error, len(kinds))
	var all sync.WaitGroup
	for i, kind := range kinds {
		// findUPnP waits for it; the search has a deadline of its own.
		all.Go(func() {
			defer func() {
				if p := recover(); p != nil { // of a device's words in a library's parser
					errs[i] = fmt.Errorf("%v", p)
				}
			}()
			found[i], errs[i] = goupnp.DiscoverDevicesCtx(ctx, kind)
		})
	}
	all.Wait()
	var problems []error
	for i := range kinds {
		if errs[i] != nil {
			problems = append(problems, errs[i])
		}
		for _, d := range found[i] {
			if d.Err != nil {
				problems = append(problems, d.Err)
				continue
			}
			r, err := igdOf(ctx, d.Root, d.Location)
			if err == nil {
				return r, nil
			}
			problems = append(problems, err)
		}
	}
	if len(problems) == 0 {
		return nil, errSilent
	}
	return nil, errors.Join(problems...)
}

// igdAt is the router whose description is at loc.
func igdAt(ctx context.Context, loc *url.URL) (Router, error) {
	localClient()
	root, err := goupnp.DeviceByURLCtx(ctx, loc)
	if err != nil {
		return nil, err
	}
	return igdOf(ctx, root, loc)
}

// igdOf takes the first connection of a device that is up.
func igdOf(ctx context.Context, root *goupnp.RootDevice, loc *url.URL) (Router, error) {
	var list []connection
	v2, _ := internetgateway2.NewWANIPConnection2ClientsFromRootDevice(root, loc)
	for _, c := range v2 {
		list = append(list, c)
	}
	v1, _ := internetgateway2.NewWANIPConnection1ClientsFromRootDevice(root, loc)
	for _, c := range v1 {
		list = append(list, c)
	}
	ppp, _ := internetgateway2.NewWANPPPConnection1ClientsFromRootDevice(root, loc)
	for _, c := range ppp {
		list = append(list, c)
	}
	err := errors.New("it has no WAN connection")
	for _, c := range list {
		client := c.GetServiceClient().SOAPClient
		if client.EndpointURL.Hostname() != loc.Hostname() {
			err = fmt.Errorf("it is controlled elsewhere, at %s", client.EndpointURL.Host)
			continue
		}
		client.HTTPClient = *localClient()
		r := igd{connection: c, host: loc.Hostname()}
		if r.here, err = towards(loc.Host); err != nil {
			continue
		}
		if _, err = r.External(ctx); err == nil {
			return r, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", loc.Host, err)
}

// towards is this machine's address on the way to host.
func towards(host string) (string, error) {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), "80")
	}
	conn, err := net.Dial("udp", host) // sends nothing
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP.String(), nil
}

func (r igd) Name() string { return "UPnP at " + r.host }

func (r igd) External(ctx context.Context) (netip.Addr, error) {
	text, err := r.GetExternalIPAddressCtx(ctx)
	if err != nil {
		return netip.Addr{}, explain(err)
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(text))
	if err != nil || addr.IsUnspecified() {
		return netip.Addr{}, fmt.Errorf("it has no address outside (%q)", text)
	}
	return addr, nil
}

// Error codes of WANIPConnection.
const (
	conflict           = 718 // another machine has the port
	onlyPermanent      = 725 // leases are not supported
	noSuchEntry        = 714
	mappingDescription = "rtcd"
)

func (r igd) Map(ctx context.Context, p Port, lifetime time.Duration) error {
	add := func(lease time.Duration) error {
		return r.AddPortMappingCtx(ctx, "", p.Number, strings.ToUpper(p.Protocol), p.Number, r.here, true, mappingDescription, uint32(lease/time.Second))
	}
	err := add(lifetime)
	if code(err) == onlyPermanent {
		err = add(0)
	}
	if code(err) == conflict {
		return errors.New("somebody else in this network has it")
	}
	return explain(err)
}

func (r igd) Unmap(ctx context.Context, p Port) error {
	err := r.DeletePortMappingCtx(ctx, "", p.Number, strings.ToUpper(p.Protocol))
	if code(err) == noSuchEntry {
		return nil
	}
	return explain(err)
}

// code is the router's error code; 0 for none.
func code(err error) int {
	var fault *soap.SOAPFaultError
	if errors.As(err, &fault) {
		return fault.Detail.UPnPError.Errorcode
	}
	return 0
}

// explain says what the router meant.
func explain(err error) error {
	var fault *soap.SOAPFaultError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fault):
		return fmt.Errorf("the router refuses: error %d %s", fault.Detail.UPnPError.Errorcode, fault.Detail.UPnPError.ErrorDescription)
	}
	return fmt.Errorf("%w: %w", errSilent, err)
}
