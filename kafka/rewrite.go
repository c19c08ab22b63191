package kafka

// RewriteOptions say what becomes of a batch. nil is the zero value.
type RewriteOptions struct {
	// Limit is the most bytes that the records may have without compression. Zero means 64 MiB.
	Limit int

	// KeepEmpty keeps the header when no record is left, as for the last batch of a producer.
	KeepEmpty bool

	// DeleteHorizon is the time in milliseconds from which on the tombstones and markers in the batch may go. It becomes
	// part of the batch, unless there is one already. Zero sets none.
	DeleteHorizon int64
}

// Rewrite appends batch b to dst with those of its records that keep accepts, and returns the extended slice and how many
// there are: what compaction does. Offsets stay what they are, and so does everything in the header that others rely on:
// base and last offset, sequence numbers, producer, leader epoch. Without records left it appends nothing, unless the
// options say so. w is used up.
//
// When nothing changes the batch is copied as it is.
func (w *BatchWriter) Rewrite(dst []byte, b Batch, o *RewriteOptions, keep func(*Record) bool) ([]byte, int, error) {
	if o == nil {
		o = new(RewriteOptions)
	}
	limit := o.Limit
	if limit <= 0 {
		limit = 64 << 20
	}
	recs, err := Open(b, w.scratch, limit)
	if err != nil {
		return dst, 0, err
	}
	w.Reset()
	a := b.Attributes()
	setHorizon := o.DeleteHorizon > 0 && !a.DeleteHorizon()
	switch {
	case setHorizon:
		a |= deleteHorizon
		w.base, w.fixed = o.DeleteHorizon, true
	case a.DeleteHorizon():
		w.base, w.fixed = b.BaseTimestamp(), true
	}
	w.filter(&recs, b.BaseOffset(), keep)
	w.scratch = recs.Buffer()
	switch {
	case recs.Err() != nil:
		return dst, 0, recs.Err()
	case w.count == b.Count() && !setHorizon:
		return append(dst, b...), int(w.count), nil
	case w.count == 0 && !o.KeepEmpty:
		return dst, 0, nil
	}
	h := header{
		offset: b.BaseOffset(), epoch: b.LeaderEpoch(), attributes: a, lastDelta: b.LastOffsetDelta(),
		baseTime: w.base, maxTime: w.max, count: w.count,
		producer: Producer{ID: b.ProducerID(), Epoch: b.ProducerEpoch(), Sequence: b.BaseSequence()},
	}
	if w.count == 0 {
		h.baseTime, h.maxTime = b.MaxTimestamp(), b.MaxTimestamp()
		h.attributes = b.Attributes() &^ (compressionMask | deleteHorizon)
	}
	out, err := h.append(dst, w.records(), 0)
	return out, int(w.count), err
}

// filter adds the records that are kept.
func (w *BatchWriter) filter(recs *Records, base int64, keep func(*Record) bool) {
	var headers []Header
	for rec := (Record{}); recs.Next(&rec); {
		if !keep(&rec) {
			continue
		}
		headers = headers[:0]
		if rec.Headers.Len() > 0 {
			for h := range rec.Headers.All() {
				headers = append(headers, h)
			}
		}
		w.add(int32(rec.Offset-base), rec.Timestamp, rec.Key, rec.Value, headers)
	}
}
