package quicnet

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// ticketNo returns a ticket that ends a while from now.
func ticketNo(n int, left time.Duration) UsedTicket {
	var t UsedTicket
	binary.BigEndian.PutUint64(t.ID[:], uint64(n))
	t.Issued = time.Now().Add(left - time.Hour)
	t.Until = time.Now().Add(left)
	return t
}

func use(t *testing.T, r Register, u UsedTicket) bool {
	t.Helper()
	first, err := r.Use(context.Background(), u)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

func TestMemoryRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewMemoryRegister(0)
		if r.Era() == NewMemoryRegister(0).Era() || r.Era() == (Era{}) {
			t.Error("the era is not random")
		}
		a, b := ticketNo(1, time.Hour), ticketNo(2, time.Hour)
		if !use(t, r, a) || use(t, r, a) || !use(t, r, b) || use(t, r, a) || use(t, r, b) {
			t.Error("not once each")
		}
		time.Sleep(59 * time.Minute)
		if use(t, r, a) {
			t.Error("used again within its time")
		}
		time.Sleep(time.Minute)
		if use(t, r, a) || use(t, r, ticketNo(3, 0)) {
			t.Error("used after its time")
		}
		time.Sleep(slotSpan)
		if use(t, r, a) || r.Len() != 0 {
			t.Errorf("%d tickets after the time of all", r.Len())
		}
	})
}

// TestMemoryRegisterClockBack: once a ticket is forgotten, a clock that is set back does not bring it to life.
func TestMemoryRegisterClockBack(t *testing.T) {
	r := NewMemoryRegister(0)
	a := ticketNo(1, time.Hour)
	if !use(t, r, a) {
		t.Fatal("refused")
	}
	r.forget() // as with a clock that was two hours ahead for a while
	if use(t, r, a) || use(t, r, ticketNo(2, time.Hour)) || r.Len() != 0 {
		t.Error("a ticket that may have been forgotten is taken")
	}
	if !use(t, r, ticketNo(3, time.Hour+slotSpan)) {
		t.Error("a later ticket is refused")
	}
}

func TestMemoryRegisterFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewMemoryRegister(3)
		old := []UsedTicket{ticketNo(1, time.Hour), ticketNo(2, time.Hour)}
		for _, u := range old {
			if !use(t, r, u) {
				t.Fatal("refused")
			}
		}
		unused := ticketNo(3, time.Hour)
		for n := 10; n < 13; n++ { // the third forgets the old ones
			if !use(t, r, ticketNo(n, 2*time.Hour)) {
				t.Fatal("refused")
			}
		}
		if r.Len() != 3 {
			t.Errorf("%d tickets", r.Len())
		}
		for _, u := range append(old, unused) {
			if use(t, r, u) {
				t.Error("a forgotten ticket, or one that ends with those, is taken")
			}
		}
		if first, err := r.Use(context.Background(), ticketNo(14, 2*time.Hour)); first || err != ErrRegisterFull {
			t.Errorf("full: %v, %v", first, err)
		}
		if use(t, r, ticketNo(11, 2*time.Hour)) {
			t.Error("taken twice when full")
		}
		if first, err := r.Use(context.Background(), ticketNo(15, 90*time.Minute)); first || err != ErrRegisterFull {
			t.Errorf("full, with an older one: %v, %v", first, err)
		}
	})
}

// TestMemoryRegisterModel compares with a map that forgets nothing: no ticket is ever new twice, whatever is forgotten.
func TestMemoryRegisterModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := uint64(time.Now().UnixNano()) ^ rand.Uint64()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		r := NewMemoryRegister(50)
		used := map[[16]byte]bool{}
		var all []UsedTicket
		taken, refused := 0, 0
		for range 20000 {
			if len(all) == 0 || rnd.IntN(3) > 0 {
				all = append(all, ticketNo(len(all), time.Duration(rnd.Int64N(int64(3*time.Hour)))))
			}
			u := all[rnd.IntN(len(all))]
			if rnd.IntN(2) == 0 {
				u = all[len(all)-1]
			}
			first, _ := r.Use(context.Background(), u)
			if first && used[u.ID] {
				t.Fatalf("a ticket is new twice: %v", u)
			}
			if first {
				used[u.ID] = true
				taken++
			} else {
				refused++
			}
			if r.Len() > 50 {
				t.Fatalf("%d tickets", r.Len())
			}
			if rnd.IntN(4) == 0 {
				time.Sleep(time.Duration(rnd.Int64N(int64(5 * time.Minute))))
			}
		}
		if taken < 1000 || refused < 1000 {
			t.Errorf("%d taken, %d refused: the test tests nothing", taken, refused)
		}
	})
}

func TestMemoryRegisterConcurrent(t *testing.T) {
	r := NewMemoryRegister(0)
	u := ticketNo(1, time.Hour)
	var firsts atomic.Int32
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if first, err := r.Use(context.Background(), u); err == nil && first {
				firsts.Add(1)
			}
		})
	}
	all.Wait()
	if firsts.Load() != 1 {
		t.Errorf("%d were the first", firsts.Load())
	}
}
