package mqttbroker

import (
	"bytes"
	"testing"
)

// FuzzRecord parses records as they may come from a damaged disk: no panic, no more memory than the record has, and what
// was understood is written as it was read.
func FuzzRecord(f *testing.F) {
	for _, rec := range []record{
		{kind: recordMessage, topic: "t", flags: 1}, {kind: recordAccepted, seq: 7, filter: "$share/g/t"},
		{kind: recordRetained, seq: 300, filter: "t", size: 40, expires: 9}, {kind: recordUnretained, filter: "t"},
		{kind: recordSession, session: 5, owner: owner{client: "c", user: "u", expiry: forever, connected: true}},
		{kind: recordEnded, session: 5}, {kind: recordSubscribed, session: 5, filter: "t/#", opts: 5 | 7<<idShift},
		{kind: recordQueued, session: 5, entry: entry{seq: 9, size: 50, qos: 1, ids: []uint32{1, 2}, group: "$share/g/t", expires: 8}},
		{kind: recordSent, session: 5, id: 3, queued: true, entry: entry{seq: 9, size: 50, qos: 2, retain: true}},
		{kind: recordDropped, session: 5}, {kind: recordSettled, session: 5, id: 65535}, {kind: recordDecided, seq: 8},
		{kind: recordReopened, seq: 8, filter: "g"}, {kind: recordPage, session: 5, owner: owner{client: "c"}, n: 1, data: []byte{1, 2, 3}},
		// nothing but two messages that are not decided
		{kind: recordCheckpoint, session: 5, owner: owner{client: "c"}, data: []byte{0, 0, 0, 0, 0, 0, 0, 2, 8, 0, 9, 1, 'g'}},
	} {
		f.Add(rec.appendTo(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var rec record
		if rec.parse(b) != nil {
			return
		}
		if rec.kind == recordMessage { // written from other fields than it is read into
			_, _ = restoreMessage(string(rec.data), 1, &rec)
			return
		}
		again := rec.appendTo(nil)
		var copied record
		if err := copied.parse(again); err != nil {
			t.Fatalf("%x was read, but not %x: %v", b, again, err)
		}
		if third := copied.appendTo(nil); !bytes.Equal(again, third) {
			t.Fatalf("%x, then %x", again, third)
		}
		s := &restored{s: &session{}}
		_ = s.checkpoint(&restoring{open: map[uint64]opened{9: {}}}, rec.data)
		if l, err := parseEntries(rec.data); err == nil {
			for l.n > 0 && len(l.b) > l.off {
				l.pop()
			}
		}
	})
}
