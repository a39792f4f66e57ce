package address

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// metadataWait is how long the metadata services may take, all together: they are on
// the same host or not there at all.
const metadataWait = 300 * time.Millisecond

// cloud is a provider whose machines can ask at a fixed address what they are.
type cloud struct {
	name    string
	host    string   // where it is asked
	virtual string   // what it is called in the request, if that matters
	paths   []string // one after the other until one answers
	header  [2]string
	prove   [2]string // a header of the answer, where another service could answer too
	token   *tokenRequest
	parse   func(body string) (netip.Addr, error) // nil: the body is the address
}

// tokenRequest gets a token first, with PUT, and shows it in a header.
type tokenRequest struct {
	path   string
	header [2]string // of the request
	show   string    // header of the requests after it
}

const linkLocal = "169.254.169.254"

// clouds are those that are known, all asked at once. Where several names stand for
// one address, the first that answers in this order is told.
var clouds = []cloud{
	{
		name: "AWS", host: linkLocal, paths: []string{"/latest/meta-data/public-ipv4"}, // IMDSv2
		token: &tokenRequest{"/latest/api/token", [2]string{"X-aws-ec2-metadata-token-ttl-seconds", "60"}, "X-aws-ec2-metadata-token"},
	},
	{
		name: "Google Cloud", host: linkLocal, virtual: "metadata.google.internal",
		paths:  []string{"/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip"},
		header: [2]string{"Metadata-Flavor", "Google"}, prove: [2]string{"Metadata-Flavor", "Google"},
	},
	{
		name: "Azure", host: linkLocal, header: [2]string{"Metadata", "true"}, parse: parseAzure,
		paths: []string{
			"/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text",
			"/metadata/loadbalancer?api-version=2020-10-01&format=json", // of a Standard public address
		},
	},
	{name: "Hetzner", host: linkLocal, paths: []string{"/hetzner/v1/metadata/public-ipv4"}},
	{name: "DigitalOcean", host: linkLocal, paths: []string{
		"/metadata/v1/reserved_ip/ipv4/ip_address", "/metadata/v1/interfaces/public/0/ipv4/address",
	}},
	{name: "Aliyun", host: "100.100.100.200", paths: []string{"/latest/meta-data/eipv4", "/latest/meta-data/public-ipv4"}},
	{name: "Tencent", host: "169.254.0.23", virtual: "metadata.tencentyun.com", paths: []string{"/latest/meta-data/public-ipv4"}},
	{name: "OpenStack", host: linkLocal, paths: []string{"/latest/meta-data/public-ipv4"}}, // its EC2-like service, of many
}

// dialFunc connects, as net.Dialer does.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// askMetadata asks the metadata services of all clouds for the public IPv4 address, and waits
// no longer than wait for all of them.
// The IPv6 addresses of such a machine are on its interfaces.
func askMetadata(ctx context.Context, dial dialFunc, wait time.Duration) (claims []Claim) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	client := &http.Client{
		// No proxy: it would ask from another machine.
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	found := make([]netip.Addr, len(clouds))
	parallel(len(clouds), func(i int) {
		found[i], _ = clouds[i].ask(ctx, client) // most are not there
	})
	for i, addr := range found {
		if addr.IsValid() {
			claims = append(claims, Claim{Metadata, clouds[i].name, addr})
		}
	}
	return claims
}

func (c cloud) ask(ctx context.Context, client *http.Client) (addr netip.Addr, err error) {
	header := http.Header{}
	if c.header[0] != "" {
		header.Set(c.header[0], c.header[1])
	}
	if t := c.token; t != nil {
		body, err := c.fetch(ctx, client, http.MethodPut, t.path, http.Header{t.header[0]: {t.header[1]}})
		if err != nil {
			return addr, err
		}
		header.Set(t.show, body)
	}
	parse := c.parse
	if parse == nil {
		parse = netip.ParseAddr
	}
	for _, path := range c.paths {
		var body string
		if body, err = c.fetch(ctx, client, http.MethodGet, path, header); err != nil {
			continue
		}
		if addr, err = parse(body); err == nil {
			return addr.Unmap(), nil
		}
	}
	return netip.Addr{}, err
}

// maxMetadata bounds an answer in bytes.
const maxMetadata = 64 << 10

func (c cloud) fetch(ctx context.Context, client *http.Client, method, path string, header http.Header) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.host+path, nil)
	if err != nil {
		return "", err
	}
	r.Header, r.Host = header, c.virtual
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", c.name, answer.Status)
	}
	if c.prove[0] != "" && answer.Header.Get(c.prove[0]) != c.prove[1] {
		return "", fmt.Errorf("%s: somebody else answers", c.name)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxMetadata))
	return strings.TrimSpace(string(body)), err
}

// parseAzure reads an address, or the description of a load balancer, which Standard
// public addresses are behind.
func parseAzure(body string) (netip.Addr, error) {
	if !strings.HasPrefix(body, "{") {
		return netip.ParseAddr(body)
	}
	var answer struct {
		LoadBalancer struct {
			PublicIPAddresses []struct{ FrontendIPAddress string }
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return netip.Addr{}, err
	}
	for _, a := range answer.LoadBalancer.PublicIPAddresses {
		if addr, err := netip.ParseAddr(strings.Trim(a.FrontendIPAddress, "[]")); err == nil && addr.Is4() {
			return addr, nil
		}
	}
	return netip.Addr{}, errors.New("no public address")
}
