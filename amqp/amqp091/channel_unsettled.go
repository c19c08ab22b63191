package amqp091

import (
	"cmp"
	"slices"

	"github.com/quartet-mq/quartet/topic/delivery"
)

// unsettled are the deliveries of a channel that the client has not settled, by delivery tag: from 1, in send order. The
// ones of late are in a window. Old ones that would make it long for few are apart, so that a client may keep one
// delivery for as long as it likes.
type unsettled struct {
	window delivery.Window[unsettledDelivery] // tag-1
	old    []settledTag                       // sorted, below the window
	gone   int                                // how many of old are settled
}

// settledTag is a delivery with its tag.
type settledTag struct {
	tag  uint64
	gone bool // settled, while it was among the old
	unsettledDelivery
}

const (
	sparseSpan   = 1024 // a window that is shorter may be as sparse as it likes
	sparseFactor = 8    // most tags for each delivery in a longer one
)

func (u *unsettled) len() int { return u.window.Len() + len(u.old) - u.gone }

// add numbers a delivery.
func (u *unsettled) add(d unsettledDelivery) (tag uint64) {
	u.thin()
	return u.window.Add(d) + 1
}

// skip numbers a delivery that needs no settlement.
func (u *unsettled) skip() (tag uint64) {
	u.thin()
	tag = u.window.Next() + 1
	u.window.SkipTo(tag)
	return tag
}

// thin takes deliveries out of the window that are few and far between.
func (u *unsettled) thin() {
	w := &u.window
	for w.Span() > sparseSpan && w.Span() > sparseFactor*uint64(w.Len()) {
		seq := w.Low()
		d, _ := w.Settle(seq)
		u.old = append(u.old, settledTag{tag: seq + 1, unsettledDelivery: d})
	}
}

// find returns where a tag is among the old, or would be; ok tells that it is unsettled.
func (u *unsettled) find(tag uint64) (i int, ok bool) {
	i, ok = slices.BinarySearchFunc(u.old, tag, func(t settledTag, tag uint64) int { return cmp.Compare(t.tag, tag) })
	return i, ok && !u.old[i].gone
}

// tidy removes those of the old that are settled, once they are the most.
func (u *unsettled) tidy() {
	if u.gone <= len(u.old)/2 {
		return
	}
	u.old = slices.DeleteFunc(u.old, func(t settledTag) bool { return t.gone })
	u.gone = 0
}

// has reports whether a delivery is unsettled.
func (u *unsettled) has(tag uint64) bool {
	if u.window.Get(tag-1) != nil {
		return true
	}
	_, ok := u.find(tag)
	return ok
}

// settle takes a delivery out.
func (u *unsettled) settle(tag uint64) (unsettledDelivery, bool) {
	if d, ok := u.window.Settle(tag - 1); ok || len(u.old) == 0 {
		return d, ok
	}
	i, ok := u.find(tag)
	if !ok {
		return unsettledDelivery{}, false
	}
	d := u.old[i].unsettledDelivery
	u.old[i] = settledTag{tag: tag, gone: true}
	u.gone++
	u.tidy()
	return d, true
}

// through takes out the delivery with a tag and all before it, and calls f for each in their order.
func (u *unsettled) through(tag uint64, f func(tag uint64, d unsettledDelivery)) {
	if len(u.old) > 0 {
		n, found := u.find(tag)
		if found {
			n++
		}
		for _, t := range u.old[:n] {
			if t.gone {
				u.gone--
			} else {
				f(t.tag, t.unsettledDelivery)
			}
		}
		clear(u.old[:n])
		u.old = u.old[n:]
	}
	for w := &u.window; w.Len() > 0 && w.Low() < tag; {
		seq := w.Low()
		d, _ := w.Settle(seq)
		f(seq+1, d)
	}
}

// all takes out all deliveries, as through does.
func (u *unsettled) all(f func(tag uint64, d unsettledDelivery)) { u.through(u.window.Next(), f) }

// restore puts deliveries back that were taken out.
func (u *unsettled) restore(list []settledTag) {
	if len(list) == 0 {
		return
	}
	most := list[0].tag
	for _, t := range list {
		most = max(most, t.tag)
	}
	// Those of the window that are below the highest one become old, too, so that the old are below the window.
	w := &u.window
	for w.Len() > 0 && w.Low() < most {
		seq := w.Low()
		d, _ := w.Settle(seq)
		u.old = append(u.old, settledTag{tag: seq + 1, unsettledDelivery: d})
	}
	u.old = slices.DeleteFunc(u.old, func(t settledTag) bool { return t.gone })
	u.gone = 0
	u.old = append(u.old, list...)
	slices.SortFunc(u.old, func(a, b settledTag) int { return cmp.Compare(a.tag, b.tag) })
}

// trim gives back what is not needed.
func (u *unsettled) trim() {
	u.window.Release()
	if len(u.old) == 0 {
		u.old = nil
	}
}
