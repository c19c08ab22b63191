package kafkabroker

import "github.com/quartet-mq/quartet/kafka"

// cleanedTxns follows the transactions while compaction walks over a log. It knows which records were aborted and which
// markers nobody needs any more: those of transactions without records.
type cleanedTxns struct {
	aborted   []abortedTxn // that are still to come, in the order of their first offsets
	ongoing   map[int64]*cleanedTxn
	committed map[int64]bool // producers that had records in the transaction that is under way
}

type cleanedTxn struct {
	abortedTxn
	records bool // some of its records are there
}

func newCleanedTxns(aborted []abortedTxn) *cleanedTxns {
	return &cleanedTxns{aborted: aborted, ongoing: make(map[int64]*cleanedTxn), committed: make(map[int64]bool)}
}

// upTo takes up the transactions that begin up to an offset.
func (c *cleanedTxns) upTo(offset int64) {
	for len(c.aborted) > 0 && c.aborted[0].first <= offset {
		if t := c.aborted[0]; c.ongoing[t.producerID] == nil {
			c.ongoing[t.producerID] = &cleanedTxn{abortedTxn: t}
		}
		c.aborted = c.aborted[1:]
	}
}

// data notes a batch of records and reports whether it was aborted.
func (c *cleanedTxns) data(h *batchHead) bool {
	c.upTo(h.last)
	if h.magic() < 2 || !h.raw.Attributes().Transactional() {
		return false
	}
	id := int64(h.raw.ProducerID())
	if t := c.ongoing[id]; t != nil {
		t.records = true
		return true
	}
	c.committed[id] = true
	return false
}

// marker notes a control batch and reports whether it may be removed. When it may not, and it is that of an aborted
// transaction, that is returned too: it belongs into the transaction index.
func (c *cleanedTxns) marker(h *batchHead, b kafka.Batch) (removable bool, kept *abortedTxn, err error) {
	c.upTo(h.last)
	if b.Count() == 0 {
		return true, nil, nil
	}
	m, ok, err := kafka.ReadMarker(b)
	if err != nil || !ok {
		return false, nil, err
	}
	id := int64(b.ProducerID())
	if m.Type == kafka.ControlCommit {
		had := c.committed[id]
		delete(c.committed, id)
		return !had, nil, nil
	}
	t := c.ongoing[id]
	delete(c.ongoing, id)
	if t != nil && t.records {
		return false, &t.abortedTxn, nil
	}
	return true, nil, nil
}
