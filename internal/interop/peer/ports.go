package peer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
)

// Ports chooses a port for each of the networks, "tcp" or "udp", and returns addresses of loopback that nobody uses. release gives
// them back.
//
// A broker binds its ports some time after they were chosen, and again after it was killed. So they are not from the range
// from which the kernel takes the ports of connections, and each is kept from the other programs that choose ports
// here by a name that only one process can have.
func Ports(networks ...string) (addrs []string, release func(), err error) {
	var names []net.Listener
	release = func() {
		for _, n := range names {
			n.Close()
		}
	}
	for _, network := range networks {
		addr, name, err := port(network)
		if err != nil {
			release()
			return nil, nil, err
		}
		addrs, names = append(addrs, addr), append(names, name)
	}
	return addrs, release, nil
}

// port chooses one port. Who has the name has the port.
func port(network string) (addr string, name net.Listener, err error) {
	low, high := portRange()
	for range 1000 {
		n := low + rand.IntN(high-low)
		addr = fmt.Sprintf("127.0.0.1:%d", n)
		name, err = net.Listen("unix", fmt.Sprintf("@quartet-interop-port-%d", n))
		if err != nil {
			continue
		}
		if err = unused(network, addr); err == nil {
			return addr, name, nil
		}
		name.Close()
	}
	return "", nil, fmt.Errorf("no port is free: %w", err)
}

// portRange returns the ports to choose from: those below the ones that the kernel gives out.
func portRange() (low, high int) {
	const first, last = 10_000, 65_536
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return first, last
	}
	if _, err := fmt.Sscan(string(b), &high); err != nil || high < first+1000 {
		return first, last
	}
	return first, high
}

// unused reports whether an address can be bound.
func unused(network, addr string) error {
	switch network {
	case "tcp":
		l, err := net.Listen(network, addr)
		if err != nil {
			return err
		}
		return l.Close()
	case "udp":
		c, err := net.ListenPacket(network, addr)
		if err != nil {
			return err
		}
		return c.Close()
	}
	return errors.ErrUnsupported
}
