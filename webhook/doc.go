// Package webhook speaks to an operator's own HTTP endpoints: Client sends one signed
// request, Queue delivers records in batches and tries again, Joins asks who may join.
//
// A request is a POST of JSON with
//
//	Rtcd-Signature: t=1767225600,v1=5257a869e7ec…
//
// where t is the time of sending in Unix seconds and v1 the hexadecimal HMAC-SHA256, by a
// shared secret, of t, a dot and the body. While the secret is replaced there is a v1 for
// each. Whoever receives it compares in constant time and refuses what is older than some
// minutes: see Verify, or
//
//	import hmac, hashlib
//	parts = [p.split("=", 1) for p in header.split(",")]
//	t = dict(parts)["t"]
//	want = hmac.new(secret, t.encode() + b"." + body, hashlib.sha256).hexdigest()
//	ok = any(hmac.compare_digest(v, want) for k, v in parts if k == "v1") and abs(time.time() - int(t)) < 300
//
// No redirect is followed, for it would carry the signed body to somebody else, and of an
// answer no more than 64 KiB is read. Only the addresses of the configuration are asked;
// nothing that a client sends becomes part of one.
package webhook
