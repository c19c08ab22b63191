// Package load is the load generator of the benchmarks and the size tests: raw sockets on one epoll loop and a few lines of
// MQTT 3.1.1 of its own, so that every broker is measured with the same code, and at less cost than any of them has.
package load
