// Faults plants known faults in a copy of the source, one at a time, and lets the
// fuzzer that should find it run for half a minute. It reports what was found, how,
// and how soon: it is the test of the fuzzers.
//
//	make faults                       all of them; the table goes to test/faults/results
//	go run ./faults -only owner       those whose name holds "owner"
//
// A fault is a replacement of text that must occur exactly once: when the source has
// moved on, the program says so and fails, instead of planting nothing. Each run has
// an empty cache of fuzzing, so only the corpora of the source help it.
package main
