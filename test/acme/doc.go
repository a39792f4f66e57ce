// Package acme holds the tests of certificates that rtcd fetches by itself, from Pebble: the
// ACME server that Let's Encrypt tests its clients with. It needs neither root nor namespaces.
package acme
