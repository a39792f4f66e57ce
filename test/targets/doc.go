// Package targets hands what rtcd writes for other programs to those programs: firewall
// rules to the firewalls, snippets to the parser of whoever is to read them.
//
// It needs root, since firewalls do; their rules are set in network namespaces of the
// tests' own.
package targets
