package kafka

import (
	"strconv"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// ControlType says what a control record is about.
type ControlType int16

// The types of control records.
const (
	ControlAbort  ControlType = 0
	ControlCommit ControlType = 1
)

// String returns the name, or the number of a type that only controllers use.
func (c ControlType) String() string {
	switch c {
	case ControlAbort:
		return "abort"
	case ControlCommit:
		return "commit"
	}
	return "ControlType(" + strconv.Itoa(int(c)) + ")"
}

// Marker is the control record that ends a transaction in a partition.
type Marker struct {
	Type             ControlType // ControlAbort or ControlCommit
	ProducerID       kafkawire.ProducerID
	ProducerEpoch    int16
	CoordinatorEpoch int32
	Timestamp        int64 // in milliseconds
}

// Append appends the batch of the marker, which has the offset 0.
func (m *Marker) Append(dst []byte) ([]byte, error) {
	key, err := kafkawire.AppendVersioned(nil, &kafkawire.ControlRecordKey{Type: int16(m.Type)}, 0)
	if err != nil {
		return dst, err
	}
	value, err := kafkawire.AppendVersioned(nil, &kafkawire.EndTxnMarker{CoordinatorEpoch: m.CoordinatorEpoch}, 0)
	if err != nil {
		return dst, err
	}
	var w BatchWriter
	w.Add(m.Timestamp, key, value)
	h := header{
		epoch: -1, attributes: control | transactional, baseTime: m.Timestamp, maxTime: m.Timestamp, count: 1,
		producer: Producer{ID: m.ProducerID, Epoch: m.ProducerEpoch, Sequence: -1},
	}
	return h.append(dst, w.records(), 0)
}

// ReadMarker reads the marker in a control batch. ok is false for control batches that are about something else, which
// clients pass over.
func ReadMarker(b Batch) (m Marker, ok bool, err error) {
	recs, err := Open(b, nil, 0)
	if err != nil {
		return m, false, err
	}
	var rec Record
	if !recs.Next(&rec) {
		return m, false, recs.Err()
	}
	var key kafkawire.ControlRecordKey
	// Later versions may have more fields at the end.
	if len(rec.Key) < 4 || key.Decode(rec.Key[2:4], 0) != nil {
		return m, false, invalid("a control record without a type")
	}
	m = Marker{Type: ControlType(key.Type), ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(), Timestamp: rec.Timestamp}
	if m.Type != ControlAbort && m.Type != ControlCommit {
		return Marker{}, false, nil
	}
	var value kafkawire.EndTxnMarker
	if len(rec.Value) < 6 || value.Decode(rec.Value[2:6], 0) != nil {
		return Marker{}, false, invalid("the end of a transaction without the epoch of its coordinator")
	}
	m.CoordinatorEpoch = value.CoordinatorEpoch
	return m, true, nil
}
