// Package creds is the one thing that the two halves of rtcd share: who may use
// the relay, and who may enter a room.
//
// [Keys] makes and checks the time-limited TURN credentials that coturn calls
// "TURN REST" (use-auth-secret):
//
//	username = <ten digits: unix expiry> [ ":" <user> ]
//	password = base64(HMAC-SHA1(secret, username))
//	user     = 1–255 bytes of printable UTF-8, further colons allowed
//
// [Tokens] makes and checks join tokens: JSON Web Tokens, HS256 and nothing
// else, with a mandatory expiry and a secret of their own.
//
// Both hold a list of secrets: the first signs, all verify, so a secret is
// replaced without a gap. Both take the time as an argument, start no goroutine,
// hold no descriptor and need no shutdown; their methods may be called from any
// goroutine. Secrets never appear in an error.
//
// The package does not decide what a client may do: it names the user and the
// verdict, and its caller decides. It stores nothing on disk.
package creds
