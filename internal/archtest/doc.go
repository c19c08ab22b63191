// Package archtest holds the rules of the tree as a test: who may import whom, what a pure root may use, what every
// package and file owes its reader. It reads the sources of all systems and build tags; it builds nothing.
package archtest
