// Command fuzzcount runs every fuzzer of the main module until they have executed so many inputs together, one after the
// other, and writes a table. A crash, a hang or a wrong answer ends it with 1, and the input is where `go test` leaves it:
// in the package's testdata/fuzz.
//
// Each fuzzer gets an equal share, but none more time than -longest in a round; what the slow ones leave undone, the others
// take over in further rounds. Inputs that a fuzzer begins with count too, as `go test` counts them.
package main
