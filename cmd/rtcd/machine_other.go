//go:build !linux

package main

func localPortRange() (low, high uint16, ok bool) { return 0, 0, false }

func reserved(_, _ uint16) bool { return false }

func openFiles() (uint64, bool) { return 0, false }
