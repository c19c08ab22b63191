package quicnet

import "net"

// outageConn is a UDP socket over which nothing can be sent for a while, because the system knows no way or has lost an
// address, as when a machine changes networks. What it cannot send then is lost, which QUIC bears; quic-go would end the
// connection for the error.
type outageConn struct{ *net.UDPConn }

// WriteMsgUDP is what quic-go sends with.
func (c outageConn) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = c.UDPConn.WriteMsgUDP(b, oob, addr)
	if err != nil && isOutage(err) {
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// WriteTo is what quic-go sends with where it uses no control messages.
func (c outageConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	n, err := c.UDPConn.WriteTo(b, addr)
	if err != nil && isOutage(err) {
		return len(b), nil
	}
	return n, err
}
