package kafkabroker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
)

// TestDamagedIndexes: indexes that were damaged after a log was closed in order lead to no other answers. What their ends show is
// made anew when the log is opened.
func TestDamagedIndexes(t *testing.T) {
	const index, times, txns = "00000000000000000000.index", "00000000000000000000.timeindex", "00000000000000000000.txnindex"
	put := func(size, at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte {
			if at < 0 {
				binary.BigEndian.PutUint32(b[len(b)+at*size:], v)
			} else {
				binary.BigEndian.PutUint32(b[at*size:], v)
			}
			return b
		}
	}
	swap := func(size int) func([]byte) []byte {
		return func(b []byte) []byte {
			first, last := bytes.Clone(b[:size]), bytes.Clone(b[len(b)-size:])
			copy(b, last)
			copy(b[len(b)-size:], first)
			return b
		}
	}
	for _, c := range []struct {
		name, file string
		damage     func([]byte) []byte
		anew       bool
	}{
		{"nothing", index, func(b []byte) []byte { return b }, true},
		{"half an entry", index, func(b []byte) []byte { return b[:len(b)-3] }, true},
		{"zeros", index, func(b []byte) []byte { return append(b, make([]byte, 8)...) }, true},
		{"the order", index, swap(8), true},
		{"a later offset", index, put(8, -1, 1<<20), true},
		{"a negative offset", index, put(8, 0, 1<<31), true},
		{"a position behind the end", index, put(4, -1, 1<<20), true},
		{"a position within a batch", index, put(4, 3, 333), false},
		{"a position of a later batch", index, func(b []byte) []byte { return put(4, 1, binary.BigEndian.Uint32(b[len(b)-12:]))(b) }, false},
		{"the order of times", times, swap(12), true},
		{"zeros behind times", times, func(b []byte) []byte { return append(b, make([]byte, 12)...) }, true},
		{"a later offset of a time", times, put(4, -1, 1<<20), true},
		{"half a transaction", txns, func(b []byte) []byte { return b[:len(b)-1] }, true},
		{"a transaction of another segment", txns, put(2, 9, 1<<24), true},
		{"the version of transactions", txns, func(b []byte) []byte { b[1] = 7; return b }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, m := testLog(t, smallConfig())
			for i := range 6 {
				abort := testBatch{records: []testRecord{{value: "gone"}}, producer: 5, sequence: int32(i), txn: true}
				mustAppend(t, l, abort.bytes(t))
				mustAppend(t, l, testBatch{records: []testRecord{{1000 + int64(i), "", fmt.Sprint(i)}, {0, "", strings.Repeat("x", 40)}}}.bytes(t))
				mustAppendFrom(t, l, marker(t, 5, 0, kafka.ControlAbort, 0, int64(i)), fromCoordinator)
			}
			answers := func(l *partitionLog) (out string) {
				for offset := range l.state().end {
					out += contents(t, l, offset, readCommitted) + "\n"
				}
				for time := range int64(8) {
					o, found, err := l.offsetFor(1000 + time)
					out += fmt.Sprintln(o, found, err)
				}
				return out
			}
			want := answers(l)
			if n := l.state().segments; n < 2 {
				t.Fatal(n, "segments")
			}
			if err := l.dir.close(); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join("d", testID.String(), c.file)
			good := change(t, m, name, c.damage)
			d := testDir(t, m, nil)
			if got := answers(d.get(testID)); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if err := d.close(); err != nil {
				t.Fatal(err)
			}
			if got := change(t, m, name, nil); bytes.Equal(got, good) != c.anew {
				t.Errorf("it has %x, and had %x", got, good)
			}
		})
	}
}

// change changes the content of a file and returns what it was.
func change(t *testing.T, m *vfs.Mem, name string, to func([]byte) []byte) []byte {
	t.Helper()
	b, err := readFile(m, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if to != nil {
		if err := createFile(m, name, to(bytes.Clone(b))); err != nil {
			t.Fatal(err)
		}
	}
	return b
}
