// Package machine tells what this machine gives to a relay: the kernel's settings, the
// limits of the process, the clock, and whether a container stands around it.
//
// A [Machine] reads the kernel's files below its Root, so that a test can show it
// another machine. Whatever cannot be found out is reported as unknown; nothing here
// fails, changes a setting, or asks another machine, but for [Offset], which asks the
// one time server that it is given.
package machine
