// Package loads holds rtcd under load and through faults: the built program in namespaces of its own (package lab),
// loaded by packages soak and turnclient and by members of its hub, with strangers that attack it meanwhile.
//
//	clients   11.22.33.49 ──┐
//	peers     11.22.33.50 ──┼── router ── rtcd 11.22.33.48: TURN on 3478 (UDP and TCP), the hub on 8080
//	strangers 11.22.33.51 ──┘
//
// Each test is a row of a programme: L1 to L7 are loads, F3 to F18 faults, D1 and following what happens at SIGTERM.
// (F5, F11 and F16, and the calls of F6, are in package natlab, whose clients are behind NATs.) What a row must hold is an account, never a
// speed: packets sent are packets received or counted as lost by a name, messages come once and in order, what was taken
// is given back. Durations are only reported, or bounded so generously that a busy machine passes.
//
// The short form runs the rows that every change has to pass, at rates for slow machines. The long form (RTCD_TEST_LONG=1)
// runs all of them in full and writes a table into the directory that RTCD_LOADS_RESULTS names; `make lab` does both.
package loads
