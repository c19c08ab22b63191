package quicnet

import (
	"crypto/tls"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// earlyWait bounds how long a dial with early data may take to complete its handshake. It has returned long before, so
// that nothing else notices when UDP is blocked. The next dial then does without early data and can fall back.
const earlyWait = 3 * time.Second

// dialEarly is the part of a Dialer that has to do with tickets and early data.
type dialEarly struct {
	memory atomic.Pointer[MemoryStore]         // in the place of Dialer.Store
	off    atomic.Pointer[map[string]struct{}] // addresses where the last early data had no answer

}

// store returns where tickets and tokens are kept, or nil.
func (d *Dialer) store() Store {
	if d.Store != nil {
		return d.Store
	}
	if d.EarlyData <= 0 {
		return nil
	}
	if s := d.early.memory.Load(); s != nil {
		return s
	}
	d.early.memory.CompareAndSwap(nil, NewMemoryStore(nil))
	return d.early.memory.Load()
}

// resumption is what a dial has from the store.
type resumption struct {
	address  string
	tls      *tls.Config
	quic     *quic.Config
	early    bool   // to be dialled with early data
	protocol string // that of the ticket
}

// resumption prepares a dial to address, "host:port". With early data it asks for the ticket's protocol only, since
// what is written before the answer is in that protocol.
func (d *Dialer) resumption(address string, c *tls.Config) resumption {
	r := resumption{address: address, tls: c, quic: d.quicConfig()}
	s := d.store()
	if s == nil {
		return r
	}
	r.tls = c.Clone()
	r.quic.TokenStore = newTokenStore(s, address)
	cache := &ticketCache{store: s, origin: ticketOrigin(strings.Join(c.NextProtos, ","), address, c)}
	r.tls.ClientSessionCache = cache
	r.tls.VerifyConnection = func(cs tls.ConnectionState) error {
		cache.protocol.Store(&cs.NegotiatedProtocol)
		if c.VerifyConnection != nil {
			return c.VerifyConnection(cs)
		}
		return nil
	}
	if !cache.take() {
		return r
	}
	d.group.stats.resumed.Add(1)
	if d.EarlyData > 0 && cache.first.earlyData && !d.earlyOff(address) && slices.Contains(c.NextProtos, cache.first.protocol) {
		r.early, r.protocol = true, cache.first.protocol
		r.tls.NextProtos = []string{r.protocol}
	}
	return r
}

// source returns where the streams of a connection come from that was dialled so.
func (d *Dialer) source(qc *quic.Conn, r resumption) streamSource {
	if r.early {
		select {
		case <-qc.HandshakeComplete(): // there was no early data after all
		default:
			return d.newEarlyClient(qc, r)
		}
	}
	d.setEarlyOff(r.address, false)
	return plainSource{qc}
}

// newEarlyClient takes over a connection that was dialled with early data.
func (d *Dialer) newEarlyClient(qc *quic.Conn, r resumption) *earlyClient {
	c := newEarlyClient(qc, d.EarlyData, r.protocol)
	limit := time.AfterFunc(min(earlyWait, d.handshakeTimeout()), func() {
		_ = qc.CloseWithError(quic.ApplicationErrorCode(CodeAborted), "no answer to early data")
	})
	go func() {
		c.settle()
		limit.Stop()
		st := &d.group.stats
		select {
		case <-c.settled:
			if c.refused {
				st.earlyRejected.Add(1)
				st.earlyResent.Add(uint64(c.resent))
			} else {
				st.earlyAccepted.Add(1)
			}
		default:
			st.earlyFailed.Add(1)
			d.setEarlyOff(r.address, true)
		}
	}()
	return c
}

// earlyOff reports whether the last early data to address had no answer.
func (d *Dialer) earlyOff(address string) bool {
	off := d.early.off.Load()
	if off == nil {
		return false
	}
	_, ok := (*off)[address]
	return ok
}

// maxEarlyOff is how many addresses a dialer keeps away from early data.
const maxEarlyOff = 256

// setEarlyOff notes whether the next dial to address does without early data.
func (d *Dialer) setEarlyOff(address string, off bool) {
	if d.earlyOff(address) == off {
		return
	}
	for {
		old := d.early.off.Load()
		m := make(map[string]struct{})
		if old != nil && len(*old) < maxEarlyOff {
			for k := range *old {
				m[k] = struct{}{}
			}
		}
		if off {
			m[address] = struct{}{}
		} else {
			delete(m, address)
		}
		if d.early.off.CompareAndSwap(old, &m) {
			return
		}
	}
}
