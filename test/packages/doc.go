// Package packages tests the ways in which rtcd comes to a machine: the Debian package with
// its systemd unit, the container image, the compose files, the Helm chart and the release.
//
// A machine is a Debian system made by debootstrap, with its own systemd as process 1
// (systemd-nspawn), in a node of the lab. What a test does to one is gone with it; the system
// beneath is kept in the user's cache directory for the next run.
//
// Everything here needs Linux and root.
package packages
