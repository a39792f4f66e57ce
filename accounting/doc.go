// Package accounting keeps the books of the relay: who relayed how much, from where and
// through which port, so that a complaint about "port P at time T" has an answer.
//
// A [Record] is one line: the start of an allocation, an interim balance while it lives,
// or its stop. A [Ledger] takes records without ever making the relay wait (a full queue
// is counted and goes on) and hands them to its sinks: a [File] of JSON lines that is
// rotated and forgotten by age and size, and a webhook. [Search] reads the files again.
//
// The package knows neither relay nor hub: whoever makes the records does. It keeps no
// contents, no passwords and no peers.
//
// Ledger.Run returns when its queue is closed and all that was in it is written.
package accounting
