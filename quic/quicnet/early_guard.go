package quicnet

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"
)

// Guard lets a server accept early data (0-RTT) of which nothing is delivered twice: each session ticket opens early
// data once. RFC 8446, section 8, demands that of a server, and neither crypto/tls nor quic-go does it.
//
// A ticket is good for early data if a server with the same [Register] issued it, in the register's present era, within
// the window, and if it was not used before. With any other ticket that the keys decrypt the connection is resumed
// without early data, and the client sends again what it had sent: that costs one round trip.
//
// One guard may serve several listeners. It is safe for concurrent use.
//
// Several servers that share ticket keys, such as those behind one load balancer, have two choices. Each with a guard of
// its own accepts early data only with tickets that it issued itself; nothing has to be arranged. With a register that
// all of them share, a client may send early data to any of them. A register in a replicated store must give the same
// answer whichever replica is asked: one that answers from a replica that lags lets a replay through.
//
// The guard does not stop somebody on the path from delivering a flight to the server, keeping the answer back, and
// making the client believe that its early data was refused, so that it sends the data again (RFC 8446, section 8 and
// appendix E.5). No server can tell. It can happen only while the client waits for its handshake, and the profile in
// docs/quic-0rtt.md allows in early data only what bears it.
type Guard struct {
	register Register
	window   time.Duration
	timeout  time.Duration
	budget   int
	refused  func(EarlyRefusal)

	issued, accepted, replayed, old, foreign, full, failed atomic.Uint64
}

// GuardOptions are the options of a [Guard]. The zero value is a guard for one process.
type GuardOptions struct {
	// Register remembers the tickets that were used. Nil means a [MemoryRegister] of the guard's own.
	Register Register

	// Window is the age up to which a ticket opens early data, by the clocks of the servers. 0 means 24 hours. TLS
	// itself resumes no ticket older than 7 days.
	Window time.Duration

	// Timeout bounds how long a handshake waits for the register. 0 means 50 ms.
	Timeout time.Duration

	// Budget is the number of bytes that a connection hands to its reader, on all streams together, before the
	// handshake is complete. The rest waits, within the flow control windows. 0 means 16 KiB, negative none.
	Budget int

	// Refused, if not nil, is called when a ticket is presented that does not open early data. It is called from the
	// handshake and must not wait.
	Refused func(EarlyRefusal)
}

// Defaults of a Guard.
const (
	defaultGuardWindow  = 24 * time.Hour
	defaultGuardTimeout = 50 * time.Millisecond
	defaultEarlyBudget  = 16 << 10

	// clockSkew is how far the clock of another server may be ahead.
	clockSkew = 10 * time.Second
)

// EarlyRefusal is why a [Guard] refuses early data.
type EarlyRefusal int

// Reasons to refuse.
const (
	// EarlyReplayed: the ticket was used before, by a replay or by a client that uses tickets twice.
	EarlyReplayed EarlyRefusal = iota + 1

	// EarlyTooOld: the ticket is older than the window, or from the future.
	EarlyTooOld

	// EarlyForeign: the ticket is of another register or era, or was issued without a guard.
	EarlyForeign

	// EarlyFull: the register had no room ([ErrRegisterFull]).
	EarlyFull

	// EarlyFailed: the register returned another error or did not answer in time.
	EarlyFailed
)

// String returns the reason as one word.
func (r EarlyRefusal) String() string {
	switch r {
	case EarlyReplayed:
		return "replayed"
	case EarlyTooOld:
		return "old"
	case EarlyForeign:
		return "foreign"
	case EarlyFull:
		return "full"
	case EarlyFailed:
		return "failed"
	}
	return "unknown"
}

// GuardStats counts tickets. A ticket is counted when it is presented, whether or not early data comes with it.
type GuardStats struct {
	Issued   uint64 // tickets issued
	Accepted uint64 // presented for the first time: early data is open
	Replayed uint64 // refused: EarlyReplayed
	Old      uint64 // refused: EarlyTooOld
	Foreign  uint64 // refused: EarlyForeign
	Full     uint64 // refused: EarlyFull
	Failed   uint64 // refused: EarlyFailed
}

// NewGuard returns a guard. Nil options are the defaults.
func NewGuard(o *GuardOptions) *Guard {
	if o == nil {
		o = &GuardOptions{}
	}
	g := &Guard{register: o.Register, window: o.Window, timeout: o.Timeout, budget: o.Budget, refused: o.Refused}
	if g.register == nil {
		g.register = NewMemoryRegister(0)
	}
	if g.window <= 0 {
		g.window = defaultGuardWindow
	}
	if g.timeout <= 0 {
		g.timeout = defaultGuardTimeout
	}
	switch {
	case g.budget == 0:
		g.budget = defaultEarlyBudget
	case g.budget < 0:
		g.budget = 0
	}
	return g
}

// Stats returns the counters as they are now.
func (g *Guard) Stats() GuardStats {
	return GuardStats{
		Issued:   g.issued.Load(),
		Accepted: g.accepted.Load(),
		Replayed: g.replayed.Load(),
		Old:      g.old.Load(),
		Foreign:  g.foreign.Load(),
		Full:     g.full.Load(),
		Failed:   g.failed.Load(),
	}
}

// Config returns a copy of a server's TLS configuration with the guard in the hooks for session tickets, for those who
// run QUIC listeners of their own. [ListenOptions] take a guard directly. Hooks that c has already are called by those
// of the guard. Tickets are encrypted with the keys of c, also those of later calls of SetSessionTicketKeys on it. A
// GetConfigForClient of c should return the same configurations again and again, or set their keys: keys that crypto/tls
// makes by itself end with their configuration.
func (g *Guard) Config(c *tls.Config) *tls.Config { return g.config(c, nil) }

// config is Config with a function that is told of refusals.
func (g *Guard) config(c *tls.Config, refused func(EarlyRefusal)) *tls.Config {
	guarded := c.Clone()
	guarded.WrapSession = func(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		g.mark(s)
		if c.WrapSession != nil {
			return c.WrapSession(cs, s)
		}
		return c.EncryptTicket(cs, s)
	}
	guarded.UnwrapSession = g.unwrap(c, refused)
	if c.GetConfigForClient != nil {
		guarded.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			other, err := c.GetConfigForClient(h)
			if other != nil {
				other = g.config(other, refused)
			}
			return other, err
		}
	}
	return guarded
}

// unwrap returns the hook that reads tickets of c.
func (g *Guard) unwrap(c *tls.Config, refused func(EarlyRefusal)) func([]byte, tls.ConnectionState) (*tls.SessionState, error) {
	return func(identity []byte, cs tls.ConnectionState) (s *tls.SessionState, err error) {
		if c.UnwrapSession != nil {
			s, err = c.UnwrapSession(identity, cs)
		} else {
			s, err = c.DecryptTicket(identity, cs)
		}
		if s == nil || !s.EarlyData {
			return s, err
		}
		if why := g.admit(s.Extra); why != 0 {
			s.EarlyData = false
			if g.refused != nil {
				g.refused(why)
			}
			if refused != nil {
				refused(why)
			}
		}
		return s, err
	}
}

// markPrefix begins the guard's entry in the Extra of a session. The last byte is its version. Behind it are the era,
// the number and the time of issue in milliseconds since 1970.
const markPrefix = "quartet-0rtt\x01"

const markLen = len(markPrefix) + 16 + 16 + 8

// mark writes the guard's entry into a session that is about to become a ticket.
func (g *Guard) mark(s *tls.SessionState) {
	if !s.EarlyData {
		return
	}
	era := g.register.Era()
	var id [16]byte
	rand.Read(id[:])
	b := make([]byte, 0, markLen)
	b = append(b, markPrefix...)
	b = append(b, era[:]...)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(time.Now().UnixMilli()))
	s.Extra = append(s.Extra, b)
	g.issued.Add(1)
}

// parseMark returns what mark wrote.
func parseMark(extra [][]byte) (era Era, t UsedTicket, ok bool) {
	for _, b := range extra {
		if len(b) != markLen || !bytes.HasPrefix(b, []byte(markPrefix)) {
			continue
		}
		if ok {
			return Era{}, UsedTicket{}, false // two marks: not ours
		}
		b = b[len(markPrefix):]
		copy(era[:], b)
		copy(t.ID[:], b[16:])
		t.Issued = time.UnixMilli(int64(binary.BigEndian.Uint64(b[32:])))
		ok = true
	}
	return era, t, ok
}

// admit decides on a ticket with these extra entries and records its use. It returns 0 if the ticket opens early data.
func (g *Guard) admit(extra [][]byte) EarlyRefusal {
	era, t, ok := parseMark(extra)
	if !ok || era != g.register.Era() {
		g.foreign.Add(1)
		return EarlyForeign
	}
	age := time.Since(t.Issued)
	if age < -clockSkew || age >= g.window {
		g.old.Add(1)
		return EarlyTooOld
	}
	t.Until = t.Issued.Add(g.window)
	ctx, cancel := context.WithTimeout(context.Background(), g.timeout)
	defer cancel()
	first, err := g.register.Use(ctx, t)
	switch {
	case errors.Is(err, ErrRegisterFull):
		g.full.Add(1)
		return EarlyFull
	case err != nil || ctx.Err() != nil:
		g.failed.Add(1)
		return EarlyFailed
	case !first:
		g.replayed.Add(1)
		return EarlyReplayed
	}
	g.accepted.Add(1)
	return 0
}
