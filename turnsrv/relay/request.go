package relay

import (
	"net/netip"

	"github.com/pion/stun/v3"
)

// phrases are the reason phrases of RFC 8489 section 14.8 and RFC 8656 section 19.
var phrases = map[int]string{
	300: "Try Alternate",
	400: "Bad Request",
	401: "Unauthenticated",
	403: "Forbidden",
	420: "Unknown Attribute",
	437: "Allocation Mismatch",
	438: "Stale Nonce",
	440: "Address Family not Supported",
	441: "Wrong Credentials",
	442: "Unsupported Transport Protocol",
	443: "Peer Address Family Mismatch",
	486: "Allocation Quota Reached",
	500: "Server Error",
	508: "Insufficient Capacity",
}

// signer is how the answers to an authenticated request are signed; the zero
// signer does not sign.
type signer struct {
	key  []byte
	sha2 bool // with MESSAGE-INTEGRITY-SHA256
}

// request is one STUN request on its way to its answer.
type request struct {
	now    Now
	policy *policy
	client *Client
	msg    message
	method method
	batch  *Batch

	// Set by authenticate.
	signer   signer
	username string
	password string
	login    Login
}

// handleSTUN takes one STUN message of a client.
func (t *Table) handleSTUN(now Now, c *Client, raw []byte, b *Batch) {
	m, why, ok := parse(raw, b)
	if !ok {
		b.drop(why)
		return
	}
	if m.typ.Class == stun.ClassIndication {
		t.handleIndication(now, c, &m, b)
		return
	}
	which, ok := requestMethod(m.typ)
	if !ok {
		b.drop(UnknownMethod)
		return
	}
	if c.conn == nil && t.own(c.Addr) {
		// RFC 8656 section 21.1.7: a client that is a relayed address makes a loop.
		b.drop(Loop)
		return
	}
	r := &request{now: now, policy: t.policy.Load(), client: c, msg: m, method: which, batch: b}
	if which == mBinding {
		t.handleBinding(r)
		return
	}
	mu := t.lock(c)
	mu.Lock()
	defer mu.Unlock()
	a := t.current(now, c, b)
	if !t.authenticate(r, a) {
		return
	}
	if unknown := m.unknown(); len(unknown) > 0 {
		t.refuseUnknown(r, unknown)
		return
	}
	if which == mAllocate {
		t.handleAllocate(r, a)
		return
	}
	switch {
	case a == nil || a.expires.Load() == 0:
		t.refuse(r, 437)
	case a.username != r.username:
		t.refuse(r, 441) // RFC 8656 section 5: not the credentials of the allocation
	case which == mRefresh:
		t.handleRefresh(r, a)
	case which == mCreatePermission:
		t.handleCreatePermission(r, a)
	case which == mChannelBind:
		t.handleChannelBind(r, a)
	}
}

func requestMethod(t stun.MessageType) (method, bool) {
	if t.Class != stun.ClassRequest {
		return 0, false
	}
	switch t.Method {
	case stun.MethodBinding:
		return mBinding, true
	case stun.MethodAllocate:
		return mAllocate, true
	case stun.MethodRefresh:
		return mRefresh, true
	case stun.MethodCreatePermission:
		return mCreatePermission, true
	case stun.MethodChannelBind:
		return mChannelBind, true
	}
	return 0, false
}

// handleBinding answers with the reflexive address (RFC 8489 section 12).
func (t *Table) handleBinding(r *request) {
	if r.client.conn == nil &&
		!t.callers.allow(r.now.Mono, r.client.Addr.Addr(), bindings, r.policy.Limits.Binding) {
		r.batch.drop(BindingLimited)
		t.trace(r, TraceSilenced, 0, BindingLimited.String(), netip.AddrPort{})
		return
	}
	if unknown := r.msg.unknown(); len(unknown) > 0 {
		t.refuseUnknown(r, unknown)
		return
	}
	r.batch.Counts.came(byTransport + Outcome(r.client.Transport))
	t.trace(r, TraceBound, 0, "", netip.AddrPort{})
	msg := r.begin(stun.ClassSuccessResponse)
	msg = appendXORAddress(msg, stun.AttrXORMappedAddress, r.client.Addr, r.msg.id)
	r.answer(msg, 0)
}

// begin starts the answer in the batch's building memory.
func (r *request) begin(class stun.MessageClass) []byte {
	typ := stun.MessageType{Method: r.msg.typ.Method, Class: class}
	return appendHeader(r.batch.build[:0], typ, r.msg.id)
}

// answer signs, ends and sends a message made with begin; code is 0 for success.
func (r *request) answer(msg []byte, code int) {
	r.batch.Counts.answered(r.method, code)
	r.batch.finish(r.client, msg, r.signer)
}

func (b *Batch) finish(c *Client, msg []byte, s signer) {
	if s.key != nil {
		msg = appendIntegrity(msg, s.key, s.sha2)
	}
	msg = appendFingerprint(msg)
	b.build = msg
	out := b.bytes(len(msg))
	copy(out, msg)
	b.toClient(c, out, nil, 0)
}

// refuse answers with an error code. Before authentication the answer is bounded
// per address on UDP, so that forged sources cannot aim us at somebody.
func (t *Table) refuse(r *request, code int) { t.refuseWhy(r, code, "", netip.AddrPort{}) }

// maySpeak applies the rate of answers to a request without a valid MAC.
func (t *Table) maySpeak(r *request, b bucket, rate Rate, why Reason) bool {
	if r.signer.key != nil || r.client.conn != nil || t.callers.allow(r.now.Mono, r.client.Addr.Addr(), b, rate) {
		return true
	}
	r.batch.drop(why)
	t.trace(r, TraceSilenced, 0, why.String(), netip.AddrPort{})
	return false
}

func (r *request) errorMessage(code int) []byte {
	return appendErrorCode(r.begin(stun.ClassErrorResponse), stun.AttrErrorCode, 0, code, phrases[code])
}

// refuseUnknown answers 420 with the list (RFC 8489 section 14.9).
func (t *Table) refuseUnknown(r *request, unknown []stun.AttrType) {
	if !t.maySpeak(r, unauthenticated, r.policy.Limits.Unauthenticated, RateLimited) {
		return
	}
	unknown = unknown[:min(len(unknown), 16)]
	list := make([]byte, 0, 32)
	for _, u := range unknown {
		list = append(list, byte(u>>8), byte(u))
	}
	r.answer(appendAttr(r.errorMessage(420), stun.AttrUnknownAttributes, list...), 420)
}

// challenge answers 401 or 438 with what a client needs to authenticate: REALM,
// NONCE and PASSWORD-ALGORITHMS (RFC 8489 section 9.2.4).
func (t *Table) challenge(r *request, code int, features byte) {
	msg := r.errorMessage(code)
	msg = appendAttr(msg, stun.AttrRealm, []byte(t.realm)...)
	msg = appendAttr(msg, stun.AttrNonce, t.nonces.append(nil, r.now.Unix, features, r.client.Addr)...)
	msg = appendAttr(msg, stun.AttrPasswordAlgorithms, passwordAlgorithms...)
	r.answer(msg, code)
}
