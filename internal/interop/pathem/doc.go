// Package pathem emulates a network path on one machine: delay, loss and a bottleneck between two Linux network namespaces.
//
// Each namespace has a TUN device, and a goroutine for each direction carries the packets between the two. So the kernel's
// TCP and whatever is built on UDP cross the same path, which a proxy between sockets cannot offer: it would end the TCP
// connections. Packets keep their order. Loss is drawn from a seeded generator for each direction, so that the n-th packet
// of a direction meets the same fate in each run.
//
// It needs root and /dev/net/tun; [New] returns an error that wraps [errors.ErrUnsupported] where they are missing.
package pathem
