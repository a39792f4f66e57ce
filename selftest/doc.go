// Package selftest uses every URL that a server advertises as a client would, now and
// then, for as long as the process runs: mint, connect (with TLS names and dates
// checked as browsers do), allocate, permit, echo through the relay, give back.
//
// A [Tester] runs the tests and holds what they showed. A URL that fails twice in a
// row is down until it works again: [Tester.Usable] leaves it out of what is handed
// out, unless nothing of its kind would be left. The tests take a bounded time and run
// one after the other; when [Tester.Run] returns, none is under way.
//
// It cannot tell what the world outside sees: firewalls and the provider's security
// groups are on the other side. That is what the check page is for.
package selftest
