package integrate

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// minSecret is how long a secret has to be for rtcd, unless it is told otherwise.
const minSecret = 32

// coturn's defaults where the file says nothing.
const (
	turnPort, tlsPort         = "3478", "5349"
	firstRelayed, lastRelayed = "49152", "65535"
)

// finish writes the YAML.
func (c *converter) finish() error {
	c.judge()
	file := newTree()
	if name := c.realm.value; strings.Contains(name, ".") && net.ParseIP(name) == nil {
		file.set("domain", c.realm)
		c.note("domain is the realm, %s: change it if clients reach the server by another name", name)
	}
	file.section("listen", func(listen tree) {
		listen.list("turn", append(c.listen(c.port, turnPort), c.aux...))
		if c.tls() {
			listen.list("turns", c.listen(c.tlsPort, tlsPort))
		}
	})
	if c.tls() {
		file.section("tls", func(tls tree) {
			tls.set("mode", sourced{value: "files"})
			tls.set("cert_file", c.certFile)
			tls.set("key_file", c.keyFile)
		})
	}
	file.section("turn", c.turn)
	file.section("log", func(log tree) { log.set("level", c.debug) })
	return c.encode(file)
}

// joined is one of two origins, or both.
func joined(a, b string) string {
	if a != "" && b != "" {
		return a + " and " + b
	}
	return a + b
}

func (c *converter) turn(turn tree) {
	turn.set("realm", c.realm)
	turn.list("secrets", c.secrets)
	if slices.ContainsFunc(c.secrets, func(s sourced) bool { return len(s.value) < minSecret }) {
		turn.set("allow_short_secret", sourced{"true", "coturn takes any"})
		c.note("a secret has fewer than %d bytes, which can be guessed from one credential; a new one: openssl rand -hex 32", minSecret)
	}
	externals, pairs := c.relayed()
	turn.list("external_ip", externals)
	turn.list("relay_ips", pairs)
	if c.min.given() || c.max.given() {
		turn.set("relay_ports", sourced{
			cmp.Or(c.min.value, firstRelayed) + "-" + cmp.Or(c.max.value, lastRelayed),
			joined(c.min.from, c.max.from),
		})
	}
	turn.section("peers", func(peers tree) {
		peers.list("allow", c.allow)
		if len(c.deny) > 0 {
			peers.list("deny", append([]sourced{{"recommended", "rtcd's default"}}, c.deny...))
		}
	})
	turn.section("limits", func(limits tree) {
		limits.set("allocations_per_user", c.userLimit)
		limits.set("allocations", c.allLimit)
		limits.set("bandwidth_per_allocation", c.bandwidth)
	})
}

// judge notes what will not work as before.
func (c *converter) judge() {
	switch {
	case len(c.secrets) > 0 && !c.secretAuth:
		c.note("coturn was not told use-auth-secret, but has a secret; rtcd takes credentials of that secret")
	case len(c.secrets) == 0 && c.longer:
		c.note("clients had fixed users; each needs a new pair: rtcd credentials --user NAME --ttl 1825d, or the secret that rtcd makes")
	case len(c.secrets) == 0 && !c.openRelay:
		c.note("there is no static-auth-secret: rtcd makes a secret in its state directory")
	}
	if c.tls() && (c.offTLS > 0) != (c.offDTLS > 0) {
		c.NotSupported = append(c.NotSupported, Leftover{max(c.offTLS, c.offDTLS), "no-tls or no-dtls", "listen.turns is both; close the other's port in the firewall"})
	}
	if !c.tls() && c.tlsPort.given() {
		c.NotNeeded = append(c.NotNeeded, Leftover{c.tlsLine, "tls-listening-port", "there is no TLS here, since it is switched off or has no certificate"})
	}
	if !c.tls() && c.certFile.given() && (c.offTLS == 0 || c.offDTLS == 0) {
		c.note("there is a certificate without a key, or the other way round: TLS is off")
	}
}

// tls tells whether TURN over TLS is on: there is a pair, and not both are switched off.
func (c *converter) tls() bool {
	return c.certFile.given() && c.keyFile.given() && (c.offTLS == 0 || c.offDTLS == 0)
}

func (c *converter) encode(file tree) error {
	var b bytes.Buffer
	b.WriteString("# Written from a turnserver.conf by rtcd integrate coturn. All keys: config.example.yaml.\n\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(file.Node); err != nil {
		return err
	}
	for _, part := range []struct {
		title string
		list  []Leftover
	}{
		{"Not supported, so look at each", c.NotSupported},
		{"Not known", c.Unknown},
		{"Not needed", c.NotNeeded},
	} {
		if len(part.list) > 0 {
			fmt.Fprintf(&b, "\n# %s:\n", part.title)
		}
		for _, l := range part.list {
			fmt.Fprintf(&b, "#   %s\n", l)
		}
	}
	c.YAML, c.Secret = b.Bytes(), len(c.secrets) > 0
	return nil
}

// tree is a YAML mapping that is being written, in the order of its keys' arrival.
type tree struct{ *yaml.Node }

func newTree() tree { return tree{&yaml.Node{Kind: yaml.MappingNode}} }

func (t tree) put(key string, value *yaml.Node) {
	t.Content = append(t.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
}

// section writes a mapping below key, unless f leaves it empty.
func (t tree) section(key string, f func(tree)) {
	below := newTree()
	if f(below); len(below.Content) > 0 {
		t.put(key, below.Node)
	}
}

// set writes one value, unless it is empty.
func (t tree) set(key string, v sourced) {
	if v.value != "" {
		t.put(key, v.node())
	}
}

// list writes a list, unless it is empty.
func (t tree) list(key string, values []sourced) {
	if len(values) == 0 {
		return
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, v := range values {
		list.Content = append(list.Content, v.node())
	}
	t.put(key, list)
}

func (s sourced) node() *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s.value}
	if s.value == "true" {
		n.Tag = "!!bool"
	} else {
		n.Style = yaml.DoubleQuotedStyle
	}
	if s.from != "" {
		n.LineComment = "# " + s.from
	}
	return n
}
