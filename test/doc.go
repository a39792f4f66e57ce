// Package test shows rtcd as its users meet it: the built program, in a small internet of its own (package lab), before
// clients that were not written with it: coturn's command-line clients, pion's and aioice's TURN clients, and headless
// Chromium and Firefox (package browser).
//
// All of it is in the tests. They need Linux, root and the Debian packages that setup.sh names.
package test
