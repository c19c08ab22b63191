package quicnet

import (
	"slices"
	"sync"
	"time"
)

// Store keeps what a client needs to come back to a server quickly: session tickets (RFC 8446, section 4.6.1), which
// resume TLS and open early data, and address tokens (RFC 9000, section 8.1.3), which spare the Retry of a server under
// load. Each item is handed out once.
//
// Items are secret: who has a ticket can take the client's place with its certificate, though not with its password.
// A store is for one identity: dialers with different client certificates must not share one. Losing an item costs at
// most one round trip, so a store need not be reliable; but an item that Take returned must not be returned again, also
// not to another process.
//
// A store is safe for concurrent use. Its methods are called from the connection's goroutine and should take little time.
type Store interface {
	// Put keeps an item, and does not keep the slice. Origin is the protocol and the server that it is of.
	Put(kind ItemKind, origin string, item []byte)

	// Take removes the newest item and returns it, or nil. The caller owns the slice.
	Take(kind ItemKind, origin string) []byte

	// Drop removes all items of an origin.
	Drop(kind ItemKind, origin string)
}

// ItemKind is what an item of a [Store] is.
type ItemKind byte

// Kinds of items. The numbers are part of the file format of [DirStore].
const (
	SessionTicket ItemKind = 1
	AddressToken  ItemKind = 2
)

// String returns the kind in words.
func (k ItemKind) String() string {
	switch k {
	case SessionTicket:
		return "session ticket"
	case AddressToken:
		return "address token"
	}
	return "unknown"
}

// StoreOptions bound a [MemoryStore] or a [DirStore]. The zero value is the defaults.
type StoreOptions struct {
	// PerOrigin is the number of items of a kind that are kept for one origin; the oldest give way. 0 means 4.
	PerOrigin int

	// Total is the number of all items that are kept; the oldest give way. 0 means 256.
	Total int

	// Age is how long an item is kept. 0 means 7 days, the longest life of a ticket (RFC 8446, section 4.6.1).
	Age time.Duration
}

// maxItem is the size of the largest item that is kept. A ticket of Go's carries a chain of certificates.
const maxItem = 64 << 10

func (o *StoreOptions) orDefaults() StoreOptions {
	var r StoreOptions
	if o != nil {
		r = *o
	}
	if r.PerOrigin <= 0 {
		r.PerOrigin = 4
	}
	if r.Total <= 0 {
		r.Total = 256
	}
	if r.Age <= 0 {
		r.Age = 7 * 24 * time.Hour
	}
	return r
}

// MemoryStore is a [Store] in memory.
type MemoryStore struct {
	opt StoreOptions

	mu    sync.Mutex
	items []storedItem // oldest first
}

type storedItem struct {
	kind   ItemKind
	origin string
	at     time.Time
	data   []byte
}

func (i *storedItem) of(kind ItemKind, origin string) bool {
	return i.kind == kind && i.origin == origin
}

// NewMemoryStore returns an empty store. Nil options are the defaults.
func NewMemoryStore(o *StoreOptions) *MemoryStore { return &MemoryStore{opt: o.orDefaults()} }

// Put implements [Store]. An item above 64 KiB is not kept.
func (s *MemoryStore) Put(kind ItemKind, origin string, item []byte) {
	if len(item) > maxItem {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	same, oldest := 0, 0
	for i := range s.items {
		if s.items[i].of(kind, origin) {
			if same == 0 {
				oldest = i
			}
			same++
		}
	}
	if same >= s.opt.PerOrigin {
		s.items = slices.Delete(s.items, oldest, oldest+1)
	}
	if n := len(s.items) - s.opt.Total + 1; n > 0 {
		s.items = slices.Delete(s.items, 0, n)
	}
	s.items = append(s.items, storedItem{kind: kind, origin: origin, at: time.Now(), data: slices.Clone(item)})
}

// Take implements [Store].
func (s *MemoryStore) Take(kind ItemKind, origin string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	for i := len(s.items) - 1; i >= 0; i-- {
		if s.items[i].of(kind, origin) {
			data := s.items[i].data
			s.items = slices.Delete(s.items, i, i+1)
			return data
		}
	}
	return nil
}

// Drop implements [Store].
func (s *MemoryStore) Drop(kind ItemKind, origin string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = slices.DeleteFunc(s.items, func(i storedItem) bool { return i.of(kind, origin) })
}

// expire drops what is too old.
func (s *MemoryStore) expire() {
	limit := time.Now().Add(-s.opt.Age)
	n := 0
	for n < len(s.items) && s.items[n].at.Before(limit) {
		n++
	}
	s.items = slices.Delete(s.items, 0, n)
}
