// Package quicnet carries the protocols of this module over QUIC (RFC 9000): a Listener for servers and a Dialer for
// clients, on quic-go.
package quicnet
