// Package diagnosis tells who checks a relay from outside what the relay saw of it.
//
// Whoever opens a [Check] at the [Desk] gets credentials whose user names carry the
// check's id, and hears, as [Sighting] values, what happens to them: the relay's traces
// (package relay) and events of that id, and, as long as a client has not said who it is,
// those of clients at the check's own address. A check hears nothing of anybody else. It
// ends with its holder, after [MaxTime], or with the desk, and what it hears is bounded:
// a holder who does not listen loses the rest and is told how much.
//
// A desk that nobody has a check at costs the relay one atomic load for each request
// without credentials, and nothing for the packets that it relays.
package diagnosis
