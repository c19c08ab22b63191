package quicnet

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"
)

// Register is the memory of a [Guard]: which session tickets were used for early data. Servers that accept each other's
// tickets (the same keys of [crypto/tls.Config.SetSessionTicketKeys]) may share one, in one process or through a store
// of the caller's. Servers that do not share a register refuse the early data of each other's tickets, because their
// eras differ; the connections are resumed all the same.
//
// A register is safe for concurrent use.
type Register interface {
	// Era names the memory of the register. Tickets carry the era in which they were issued, and those of another era
	// get no early data. Hence a register that may have forgotten a ticket before its Until, because it lives in the
	// memory of a process that was restarted or in a store that was emptied, must come back with another era. It is
	// called for each handshake and must not wait.
	Era() Era

	// Use records that a ticket is used and reports whether this is the first time. Of several calls for one ticket at
	// most one may report true, whichever servers they come from. After t.Until the ticket may be forgotten, if it is
	// never reported as new again. With an error, or false, the early data is refused and the connection is resumed
	// without it. The handshake waits for Use; ctx ends after [GuardOptions.Timeout].
	Use(ctx context.Context, t UsedTicket) (first bool, err error)
}

// Era is a random name of a [Register]'s memory.
type Era [16]byte

// NewEra returns a random era.
func NewEra() (e Era) {
	rand.Read(e[:])
	return e
}

// UsedTicket is a session ticket that a client presents to a server.
type UsedTicket struct {
	// ID is the random number of the ticket.
	ID [16]byte

	// Issued is the time at which a server issued it, by that server's clock.
	Issued time.Time

	// Until is the end of its use for early data.
	Until time.Time
}

// ErrRegisterFull is the error of a [MemoryRegister] that has no room for a ticket.
var ErrRegisterFull = errors.New("quicnet: the register of tickets is full")

// MemoryRegister is a [Register] in memory. Its era is random, so that a restarted process refuses the early data of
// all older tickets.
//
// It is bounded. When it is full it forgets the tickets that end first and refuses, from then on, every ticket that
// ends as early as those. If nothing is old enough for that, Use returns [ErrRegisterFull]. So a full register costs
// round trips, never safety.
type MemoryRegister struct {
	era   Era
	limit int

	mu    sync.Mutex
	n     int
	slots []slot    // ordered by end
	floor time.Time // tickets that end at this time or before are refused
}

// slot holds the used tickets of which the time ends in one span of slotSpan.
type slot struct {
	end  time.Time // exclusive
	used map[[16]byte]struct{}
}

// slotSpan is how exactly a MemoryRegister knows when it may forget a ticket.
const slotSpan = 5 * time.Minute

// defaultRegisterLimit is the number of tickets that a MemoryRegister remembers.
const defaultRegisterLimit = 1 << 18

// NewMemoryRegister returns a register that remembers up to limit tickets at about 40 bytes each; 0 means 262,144. It
// needs room for as many as are used for early data within [GuardOptions.Window].
func NewMemoryRegister(limit int) *MemoryRegister {
	if limit <= 0 {
		limit = defaultRegisterLimit
	}
	return &MemoryRegister{era: NewEra(), limit: limit}
}

// Era implements [Register].
func (r *MemoryRegister) Era() Era { return r.era }

// Len returns the number of tickets that it remembers.
func (r *MemoryRegister) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// Use implements [Register]. It does not wait.
func (r *MemoryRegister) Use(_ context.Context, t UsedTicket) (first bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for len(r.slots) > 0 && !r.slots[0].end.After(now) {
		r.forget()
	}
	if !t.Until.After(now) || !t.Until.After(r.floor) {
		return false, nil
	}
	end := t.Until.Truncate(slotSpan).Add(slotSpan)
	i, found := slices.BinarySearchFunc(r.slots, end, func(s slot, end time.Time) int { return s.end.Compare(end) })
	if found {
		if _, used := r.slots[i].used[t.ID]; used {
			return false, nil
		}
	}
	for r.n >= r.limit {
		if r.slots[0].end.Compare(end) >= 0 {
			return false, ErrRegisterFull
		}
		r.forget()
		i--
	}
	if !found {
		r.slots = slices.Insert(r.slots, max(i, 0), slot{end: end, used: make(map[[16]byte]struct{})})
		i = max(i, 0)
	}
	r.slots[i].used[t.ID] = struct{}{}
	r.n++
	return true, nil
}

// forget drops the first slot. What it held is refused from now on even if the clock is set back.
func (r *MemoryRegister) forget() {
	s := r.slots[0]
	r.slots = slices.Delete(r.slots, 0, 1)
	r.n -= len(s.used)
	if s.end.After(r.floor) {
		r.floor = s.end
	}
}
