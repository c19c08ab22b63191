package quicnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// PathOptions say how a Dialer follows the network. The zero value is the defaults.
//
// Every Interval the Dialer asks for the local address that the system would use towards each of its servers. When that
// has been another one than the connection's for Settle, the connection moves: a new socket is opened, the server is
// probed over it, and when it answers everything goes over that path (RFC 9000, section 9). Nothing is lost or repeated
// by that, since what was under way is sent again as after any loss. A connection does not move again within Hold, so
// that a network that comes and goes does not carry it to and fro.
//
// While the system knows no way to the server a connection waits, up to its idle timeout. When the server does not answer
// over the new path and the address of the old one is gone, the connection ends at once, so that the client dials again,
// with early data where it may.
type PathOptions struct {
	// Interval is how often the network is looked at. The default is 2 seconds; negative is never, and then
	// connections move by Conn.Migrate only. Asking costs two system calls for each server and sends nothing.
	Interval time.Duration

	// Settle is how long another address must have been the one to use. The default is 1 second.
	Settle time.Duration

	// Hold is how long a connection stays where it is after it has moved or tried to. The default is 10 seconds. It does
	// not stay when its address is gone.
	Hold time.Duration

	// ProbeTimeout bounds a probe. The default is 5 seconds.
	ProbeTimeout time.Duration

	// Stay keeps connections of which no path is left until their idle timeout.
	Stay bool

	// Route returns the local address for packets to remote. The default asks the system.
	Route func(remote net.Addr) (netip.Addr, error)

	// Addrs returns the addresses that this machine has. The default asks the system.
	Addrs func() ([]netip.Addr, error)
}

func (o *PathOptions) orDefaults() PathOptions {
	var p PathOptions
	if o != nil {
		p = *o
	}
	p.Interval = orDefault(p.Interval, 2*time.Second)
	p.Settle = max(0, orDefault(p.Settle, time.Second))
	p.Hold = max(0, orDefault(p.Hold, 10*time.Second))
	p.ProbeTimeout = orDefault(p.ProbeTimeout, 5*time.Second)
	if p.Route == nil {
		p.Route = systemRoute
	}
	if p.Addrs == nil {
		p.Addrs = systemAddrs
	}
	return p
}

// systemRoute asks the system for the local address towards remote, by a UDP socket that sends nothing.
func systemRoute(remote net.Addr) (netip.Addr, error) {
	to, ok := remote.(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, fmt.Errorf("quicnet: no route to %v: %w", remote, errors.ErrUnsupported)
	}
	c, err := net.DialUDP("udp", nil, to)
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

func systemAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, p.Addr().Unmap())
		}
	}
	return addrs, nil
}
