package relay

import "net/netip"

// Outcome is what a request came to, beside the code of its answer: why a login
// failed, which quota was full, which rule stood against a peer, and over what a
// Binding came. Each is one value of one label of one metric.
type Outcome uint8

// The outcomes, by metric.
const (
	AuthExpired     Outcome = iota // the username's time has passed
	AuthRevoked                    // the user was put out
	AuthMalformed                  // not a username of ours, or a hash of none
	AuthBadPassword                // the MAC does not match
	AuthWrongRealm                 // the REALM is not ours
	AuthStaleNonce                 // all is well but the nonce, which is old: browsers meet it

	QuotaUser    // allocations of the user
	QuotaAddress // allocations of the client's address
	QuotaTotal   // allocations in all
	QuotaPace    // new allocations of the address in a short time

	DeniedList      // turn.peers.deny
	DeniedOwn       // an address of this machine
	DeniedListener  // one of our own listeners
	DeniedRelayOnly // the credential reaches relayed addresses of ours only
	DeniedMapped    // an IPv4-mapped address, which is not one on the wire
	DeniedPace      // more new peers than turn.limits.new_peers_per_allocation

	byTransport // one per transport from here
	numOutcomes = byTransport + Outcome(numTransports)
)

// outcomeMetrics are the name, the label and its value of each.
var outcomeMetrics = [numOutcomes]Metric{
	AuthExpired:     outcomeMetric("auth_failures", "reason", "expired"),
	AuthRevoked:     outcomeMetric("auth_failures", "reason", "revoked"),
	AuthMalformed:   outcomeMetric("auth_failures", "reason", "malformed"),
	AuthBadPassword: outcomeMetric("auth_failures", "reason", "bad_password"),
	AuthWrongRealm:  outcomeMetric("auth_failures", "reason", "wrong_realm"),
	AuthStaleNonce:  outcomeMetric("auth_failures", "reason", "stale_nonce"),

	QuotaUser:    outcomeMetric("quota_rejections", "scope", "user"),
	QuotaAddress: outcomeMetric("quota_rejections", "scope", "address"),
	QuotaTotal:   outcomeMetric("quota_rejections", "scope", "total"),
	QuotaPace:    outcomeMetric("quota_rejections", "scope", "pace"),

	DeniedList:      outcomeMetric("permission_denied", "rule", "deny"),
	DeniedOwn:       outcomeMetric("permission_denied", "rule", "own_address"),
	DeniedListener:  outcomeMetric("permission_denied", "rule", "own_listener"),
	DeniedRelayOnly: outcomeMetric("permission_denied", "rule", "relay_only"),
	DeniedMapped:    outcomeMetric("permission_denied", "rule", "mapped"),
	DeniedPace:      outcomeMetric("permission_denied", "rule", "pace"),

	byTransport + Outcome(UDP):  outcomeMetric(Bindings, "transport", UDP.String()),
	byTransport + Outcome(TCP):  outcomeMetric(Bindings, "transport", TCP.String()),
	byTransport + Outcome(TLS):  outcomeMetric(Bindings, "transport", TLS.String()),
	byTransport + Outcome(DTLS): outcomeMetric(Bindings, "transport", DTLS.String()),
}

// Bindings is the name of the only metric that is STUN's rather than TURN's.
const Bindings = "bindings"

func outcomeMetric(name, label, value string) Metric {
	return Metric{Name: name, Labels: []Label{{label, value}}}
}

// came counts an outcome of a request.
func (c *Counts) came(o Outcome) {
	c.Outcomes[o]++
	c.touched = true
}

// whyNot names the rule that stands against a peer that mayPermit or admits refused.
func (p *policy) whyNot(peer netip.AddrPort, relayOnly bool) Outcome {
	if relayOnly {
		return DeniedRelayOnly
	}
	forms, n := formsOf(peer.Addr())
	for _, a := range forms[:n] {
		switch {
		case p.isListener(a, peer.Port()):
			return DeniedListener
		case a.Is4In6():
			return DeniedMapped
		case within(p.Allow, a):
		case p.isLocal(a):
			return DeniedOwn
		case within(p.Deny, a):
			return DeniedList
		}
	}
	return DeniedList
}

// failure is why a username is worth nothing.
func (v Verdict) failure() Outcome {
	switch v {
	case Expired:
		return AuthExpired
	case Revoked:
		return AuthRevoked
	case Valid:
		return AuthBadPassword
	}
	return AuthMalformed
}
