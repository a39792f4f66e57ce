// Command rtcd makes WebRTC work outside the LAN: a STUN and TURN relay, a
// WebSocket signaling hub that hands out its credentials, and pages that prove it.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }
