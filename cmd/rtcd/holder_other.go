//go:build !linux

package main

// portHolder is not known on this platform.
func portHolder(string, int) string { return "" }
