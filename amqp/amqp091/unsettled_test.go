package amqp091

import (
	"math/rand"
	"slices"
	"testing"
)

// TestUnsettled compares with a map.
func TestUnsettled(t *testing.T) {
	for seed := range int64(30) {
		rnd := rand.New(rand.NewSource(seed))
		var u unsettled
		want := make(map[uint64]int)
		var taken []settledTag
		next := uint64(1)
		tags := func() (list []uint64) {
			for tag := range want {
				list = append(list, tag)
			}
			slices.Sort(list)
			return list
		}
		take := func(tag uint64, d unsettledDelivery) {
			if d.ref != want[tag] {
				t.Fatalf("seed %d: tag %d is %v, not %d", seed, tag, d.ref, want[tag])
			}
			delete(want, tag)
			taken = append(taken, settledTag{tag: tag, unsettledDelivery: d})
		}
		for range 20_000 {
			switch n := rnd.Intn(1000); {
			case n < 500:
				if tag := u.add(unsettledDelivery{ref: rnd.Int()}); tag != next {
					t.Fatal(tag)
				}
				if u.window.Len() > 0 {
					want[next] = u.window.Get(next - 1).ref.(int)
				}
				next++
			case n < 600:
				u.skip()
				next++
			case n < 980:
				tag := next - uint64(min(rnd.ExpFloat64()*50, float64(next)))
				_, known := want[tag]
				if u.has(tag) != known {
					t.Fatalf("seed %d: has(%d) is %v", seed, tag, !known)
				}
				d, ok := u.settle(tag)
				if ok != known {
					t.Fatalf("seed %d: settle(%d) is %v", seed, tag, ok)
				}
				if ok {
					take(tag, d)
				}
			case n < 985:
				var got, below []uint64
				tag := next - uint64(min(rnd.ExpFloat64()*3000, float64(next)))
				for _, v := range tags() {
					if v <= tag {
						below = append(below, v)
					}
				}
				u.through(tag, func(tag uint64, d unsettledDelivery) {
					got = append(got, tag)
					take(tag, d)
				})
				if !slices.Equal(got, below) {
					t.Fatalf("seed %d: %d through %d, not %d", seed, len(got), tag, len(below))
				}
			case n < 990:
				u.restore(taken)
				for _, e := range taken {
					want[e.tag] = e.ref.(int)
				}
				taken = nil
			default:
				taken = nil
			}
			if u.len() != len(want) {
				t.Fatalf("seed %d: %d unsettled, not %d", seed, u.len(), len(want))
			}
		}
		var got []uint64
		list := tags()
		u.all(func(tag uint64, d unsettledDelivery) { got = append(got, tag) })
		if !slices.Equal(got, list) || u.len() != 0 {
			t.Fatalf("seed %d: all are %d, not %d", seed, len(got), len(list))
		}
	}
}

// TestUnsettledMany: many old deliveries are settled one by one, in any order. It would take minutes if the time grew
// with their square.
func TestUnsettledMany(t *testing.T) {
	const n = 200_000
	var u unsettled
	var list []settledTag
	for range n {
		u.add(unsettledDelivery{ref: 1})
	}
	u.all(func(tag uint64, d unsettledDelivery) { list = append(list, settledTag{tag: tag, unsettledDelivery: d}) })
	u.restore(list) // a rollback
	for i := range n {
		tag := uint64(n/2 - i/2)
		if i%2 == 1 {
			tag = uint64(n/2 + 1 + i/2)
		}
		if _, ok := u.settle(tag); !ok {
			t.Fatal(tag)
		}
	}
	if u.len() != 0 {
		t.Error(u.len())
	}
	u.restore(list)
	for tag := range uint64(n) {
		u.through(tag+1, func(got uint64, _ unsettledDelivery) {
			if got != tag+1 {
				t.Fatal(got)
			}
		})
	}
	if u.len() != 0 {
		t.Error(u.len())
	}
}
