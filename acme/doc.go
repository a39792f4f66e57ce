// Package acme fetches a certificate for one name or address from a certificate authority,
// and renews it (RFC 8555), with certmagic.
//
// A [Source] is asked for the certificate of each handshake. Until the authority has given one
// it answers with a placeholder, so that a server need not wait for it. Run fetches and renews;
// what fails is logged with what to do about it, and tried again, ever more rarely.
//
// The authority comes in by the server's own listeners: over HTTP by [Source.Challenges]
// (HTTP-01), over TLS by [Source.Get] (TLS-ALPN-01, RFC 8737). An address gets a certificate,
// too (RFC 8738), where the authority gives such.
//
// # Shutdown
//
// Run returns when its context is done and certmagic's maintenance has ended.
//
// # What it does not do
//
// It opens no ports, and knows no DNS-01.
package acme
