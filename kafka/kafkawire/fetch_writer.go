package kafkawire

// FetchWriter writes a fetch response around record batches that stay where they are. A broker that sends them from
// files or from shared memory calls Begin, then for each topic Topic, and for each of its partitions Partition and
// PartitionEnd, then End. The records of a partition belong between what was there after Partition, which is
// w.Len() bytes, and the rest: with writev nothing of them is copied.
//
// The writer is to be used once more after Begin. It is not safe for concurrent use.
type FetchWriter struct {
	c fetchResponseCoder
}

// Begin starts to append a response to dst, with the fields of r before its topics, of which n follow.
func (w *FetchWriter) Begin(dst []byte, version int16, r *FetchResponse, n int) {
	w.c = fetchResponseCoder{}
	c := &w.c
	if !c.encode(dst, version, "FetchResponse", KeyFetch.MinVersion(), KeyFetch.MaxVersion(), KeyFetch.FlexibleVersion()) {
		return
	}
	c.int32(&r.ThrottleTimeMs)
	if version >= 7 {
		c.int16((*int16)(&r.ErrorCode))
		c.int32(&r.SessionID)
	} else if r.SessionID != 0 {
		c.missing("SessionID")
	}
	c.length(n)
}

// Topic starts a topic of n partitions. The version decides whether its name or its id is written.
func (w *FetchWriter) Topic(name TopicName, id UUID, n int) {
	c := &w.c
	if c.version <= 12 {
		c.string((*string)(&name))
	} else {
		c.uuid(&id)
	}
	c.length(n)
}

// Partition writes a partition up to its records, of which size bytes are to come; p.Records is not used. PartitionEnd
// must follow.
func (w *FetchWriter) Partition(p *FetchResponsePartition, size int) {
	c := &w.c
	c.int32(&p.PartitionIndex)
	c.int16((*int16)(&p.ErrorCode))
	c.int64(&p.HighWatermark)
	c.int64(&p.LastStableOffset)
	if c.version >= 5 {
		c.int64(&p.LogStartOffset)
	}
	c.nullArray(len(p.AbortedTransactions), p.AbortedTransactions == nil, 16)
	for i := range p.AbortedTransactions {
		p.AbortedTransactions[i].code(c)
	}
	if c.version >= 11 {
		c.int32((*int32)(&p.PreferredReadReplica))
	} else if p.PreferredReadReplica != -1 {
		c.missing("Responses.Partitions.PreferredReadReplica")
	}
	c.length(size)
}

// PartitionEnd writes what comes after the records of a partition.
func (w *FetchWriter) PartitionEnd(p *FetchResponsePartition) { p.codeTags(&w.c) }

// TopicEnd writes what comes after the partitions of a topic.
func (w *FetchWriter) TopicEnd() {
	var none []Tag
	w.c.unknownTags(&none)
}

// Len returns how many bytes there are so far, dst included.
func (w *FetchWriter) Len() int { return len(w.c.out) }

// End writes what comes after the topics and returns dst with the response without its records, or dst as it was and an
// [*Error].
func (w *FetchWriter) End(r *FetchResponse) ([]byte, error) {
	r.codeTags(&w.c)
	return w.c.appended()
}
