// Package wiretest is what the test packages of the protocols have in common: connections that show what passes them and
// break on demand, faults by rules, records of the wire that are compared with golden files, peers that are played by hand,
// and readable differences.
//
// It knows no protocol. What passes is cut into units, such as packets or frames, by a [Size] of the protocol.
package wiretest
