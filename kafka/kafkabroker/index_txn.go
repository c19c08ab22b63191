package kafkabroker

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// abortedTxn is an entry of a transaction index: a transaction that was aborted in the segment that has its marker.
type abortedTxn struct {
	producerID int64
	first      int64 // offset of its first record
	last       int64 // offset of the marker
	lastStable int64 // the last stable offset when it was aborted: what is below was decided
}

const (
	txnEntrySize    = 34
	txnEntryVersion = 0
)

func appendTxnEntry(b []byte, t abortedTxn) []byte {
	b = binary.BigEndian.AppendUint16(b, txnEntryVersion)
	for _, v := range [...]int64{t.producerID, t.first, t.last, t.lastStable} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

// readTxnEntries reads a transaction index. What it makes no sense of is an error.
func readTxnEntries(name string, b []byte) ([]abortedTxn, error) {
	if len(b)%txnEntrySize != 0 {
		return nil, &corruptError{name, int64(len(b)), "a part of an entry"}
	}
	list := make([]abortedTxn, 0, len(b)/txnEntrySize)
	for at := 0; at < len(b); at += txnEntrySize {
		e := b[at : at+txnEntrySize]
		if v := binary.BigEndian.Uint16(e); v != txnEntryVersion {
			return nil, &corruptError{name, int64(at), "unknown version"}
		}
		num := func(i int) int64 { return int64(binary.BigEndian.Uint64(e[2+8*i:])) }
		t := abortedTxn{num(0), num(1), num(2), num(3)}
		if n := len(list); t.first > t.last || n > 0 && list[n-1].last >= t.last {
			return nil, &corruptError{name, int64(at), "transactions out of order"}
		}
		list = append(list, t)
	}
	return list, nil
}

// selectAborted appends those transactions that a reader of [from, to) must know. done means that later segments have none.
func selectAborted(dst, index []abortedTxn, from, to int64) (list []abortedTxn, done bool) {
	for _, t := range index {
		if t.last >= from && t.first < to {
			dst = append(dst, t)
		}
		if t.lastStable >= to {
			return dst, true
		}
	}
	return dst, false
}

// sortAborted puts transactions into the order of their first records, in which clients want them.
func sortAborted(list []abortedTxn) {
	slices.SortFunc(list, func(a, b abortedTxn) int { return cmp.Compare(a.first, b.first) })
}
