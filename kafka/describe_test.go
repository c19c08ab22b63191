package kafka

import (
	"fmt"
	"strings"
)

// describe tells what is in record batches and message sets, in the words of the program in internal/interop that reads
// them with Kafka's own classes.
func describe(b []byte) (string, error) {
	var s []string
	for len(b) > 0 {
		entry, rest, err := Split(b)
		if err != nil {
			return "", err
		}
		if entry == nil {
			return "", fmt.Errorf("%d bytes are left", len(b))
		}
		text, err := describeEntry(entry)
		if err != nil {
			return "", err
		}
		s, b = append(s, text), rest
	}
	return strings.Join(s, " "), nil
}

func describeEntry(entry []byte) (string, error) {
	var s strings.Builder
	a := Attributes(0)
	if Magic(entry) < 2 {
		a = Message(entry).Attributes()
		if err := Message(entry).Check(); err != nil {
			return "", err
		}
	} else {
		a = Batch(entry).Attributes()
		if err := Batch(entry).Check(); err != nil {
			return "", err
		}
	}
	fmt.Fprintf(&s, "magic=%d compression=%v append=%v", Magic(entry), a.Compression(), a.LogAppendTime())
	if Magic(entry) == 2 {
		b := Batch(entry)
		fmt.Fprintf(&s, " base=%d last=%d leader=%d max=%d", b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.MaxTimestamp())
		fmt.Fprintf(&s, " producer=%d/%d/%d/%d", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence())
		horizon := int64(-1)
		if a.DeleteHorizon() {
			horizon = b.BaseTimestamp()
		}
		fmt.Fprintf(&s, " transactional=%v control=%v horizon=%d", a.Transactional(), a.Control(), horizon)
	}
	recs, err := Open(entry, nil, 1<<20)
	if err != nil {
		return "", err
	}
	for r := (Record{}); recs.Next(&r); {
		fmt.Fprintf(&s, " [%d %d %s %s", r.Offset, r.Timestamp, text(r.Key), text(r.Value))
		for h := range r.Headers.All() {
			fmt.Fprintf(&s, " %s=%s", h.Key, text(h.Value))
		}
		s.WriteString("]")
		if a.Control() {
			m, ok, err := ReadMarker(entry)
			if err != nil || !ok {
				return "", fmt.Errorf("no marker: %w", err)
			}
			fmt.Fprintf(&s, " %v=%d", m.Type, m.CoordinatorEpoch)
		}
	}
	return s.String(), recs.Err()
}

func text(b []byte) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprintf(`"%x"`, b)
}
