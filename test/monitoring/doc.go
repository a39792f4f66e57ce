// Package monitoring shows that what deploy/ has for Prometheus and Grafana fits what rtcd
// tells: Debian's Prometheus scrapes a running rtcd under a little traffic, and every query
// of the dashboard and every alert is run against it.
package monitoring
