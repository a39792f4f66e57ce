// Package apps tests the applications in browsers: each driven by two or three pages, over every kind of path there
// is, through cuts, by keyboard, and with strangers' names that would be markup.
//
// All tests share one rtcd and one browser (of each kind) in a lab; a room of its own keeps them apart, so they run in
// parallel. What a page reports while it is driven (an error, a rejection, a warning, a breach of its policy)
// fails its test. Nothing is measured by the clock: tests wait for what should happen, and where something has to
// happen in the middle of a transfer, the transfer is held there.
//
// RTCD_TEST_LONG=1 adds Firefox, every way to the relay, larger files and larger calls. RTCD_TEST_PICTURES=dir makes the
// pictures of the README.
package apps
