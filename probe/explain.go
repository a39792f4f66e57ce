package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/pion/stun/v3"
)

// words are the STUN error codes (RFC 8489 section 14.8, RFC 8656 section 19) in
// plain words, with what to do.
var words = map[int][2]string{
	300: {"the server sends clients to another one", "it is being shut down or replaced; use the alternate server"},
	400: {"the server finds the request malformed", "some servers also say this for a wrong password: check username and credential"},
	401: {"username or password is wrong or has expired", "mint a new pair (rtcd credentials); if that fails too, the secret here is not the server's, or a clock is wrong"},
	403: {"the server's policy forbids this peer", "see turn.peers: private and special addresses are denied by default"},
	420: {"the server does not know an attribute of the request", "the server is older than RFC 8656"},
	437: {"the server does not know our allocation", "something between us and the server changes our address; try ?transport=tcp"},
	438: {"the server's nonce is stale", "try again; if it stays, a clock jumps or several servers share one address"},
	440: {"the server has no address of the requested family", "set turn.external_ip for that family"},
	441: {"the allocation belongs to another user", "wait until it has expired"},
	442: {"the server does not relay this transport", "only UDP is relayed"},
	443: {"the peer's address is of another family than the relay's", "ask for an allocation of that family"},
	486: {"a quota is used up", "see turn.limits: allocations_per_user and allocations_per_ip"},
	500: {"the server had an internal error", "look at its log"},
	508: {"the server has no capacity: no relay port is free, or it is being shut down", "widen turn.relay_ports, or wait"},
}

// explain says in plain words why a step failed.
func explain(step string, t Target, err error) *Problem {
	p := &Problem{Step: step, Reason: err.Error(), Remedy: "look at the server's log"}
	var refusal *stun.TurnError
	if errors.As(err, &refusal) {
		p.Code = int(refusal.ErrorCodeAttr.Code)
		p.Reason = fmt.Sprintf("error %d: the server refuses", p.Code)
		if w, ok := words[p.Code]; ok {
			p.Reason, p.Remedy = fmt.Sprintf("error %d: %s", p.Code, w[0]), w[1]
		}
		return p
	}
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.Is(err, errRangeClosed):
		p.Reason = "the relay answers, but no packet from this network reaches its relayed addresses"
		p.Remedy = "open the UDP ports of turn.relay_ports (49152-65535 unless set) in the firewall and the provider's security group; rtcd ports prints the rules"
	case errors.Is(err, errNoBulk):
		p.Remedy = "look on the way for an MTU below 1,300 bytes and for a limit to UDP; turn.limits.bandwidth_per_allocation is the relay's own"
	case errors.As(err, &dns):
		p.Reason, p.Remedy = fmt.Sprintf("the name %q does not resolve", t.Host), "check the name, and that its DNS records are published"
	case errors.Is(err, syscall.ECONNREFUSED):
		p.Reason = "nothing listens on that port"
		p.Remedy = "start the server, or check the port (listen.turn, listen.turns)"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		p.Reason, p.Remedy = "there is no route to the server's address", "this machine may have no IPv6, or no network"
	case errors.As(err, &name):
		p.Reason, p.Remedy = "the certificate is for another name", "browsers refuse it too; use the certificate's name in the URL"
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &verification):
		p.Reason, p.Remedy = "the certificate is not trusted: "+err.Error(), "browsers refuse it too; use one of a public authority, with its whole chain, or give --ca"
	case errors.As(err, &record):
		p.Reason, p.Remedy = "the port does not speak TLS", "write turn: instead of turns:, or use the port of listen.turns"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, errSilence):
		p.Reason = "no answer"
		p.Remedy = silenceRemedy(t)
	}
	return p
}

func silenceRemedy(t Target) string {
	if t.stream() {
		return fmt.Sprintf("open TCP port %d in the firewall and the provider's security group", t.Port)
	}
	return fmt.Sprintf("open UDP port %d in the firewall and the provider's security group; if this network blocks UDP, try ?transport=tcp", t.Port)
}
