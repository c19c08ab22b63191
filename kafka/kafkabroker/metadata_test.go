package kafkabroker

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/journal"
	"github.com/quartet-mq/quartet/internal/vfs"
)

// content returns all entities.
func (m *metadata) content(t *testing.T) map[metaKey]string {
	t.Helper()
	all := make(map[metaKey]string)
	for kind := metaKind(1); kind < 10; kind++ {
		err := m.each(kind, func(key string, value []byte) error {
			if value == nil {
				return errors.New("no value")
			}
			all[metaKey{kind, key}] = string(value)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestMetadataModel changes entities at random, several at once, beside a map, with small files that are cleaned all the time,
// and opens the journal again after orderly ends and losses of power.
func TestMetadataModel(t *testing.T) { synctest.Test(t, testMetadataModel) }

func testMetadataModel(t *testing.T) {
	const seed = 5
	t.Log("seed", seed)
	rnd := rand.New(rand.NewPCG(seed, seed))
	fs := vfs.NewMem()
	open := func() *metadata {
		m, err := openMetadata("d", &journal.Options{FS: fs, Kind: "kafka", SegmentSize: 4 << 10, Logger: slog.New(slog.DiscardHandler), MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	want := make(map[metaKey]string)
	m := open()
	for step := range 1500 {
		var changes []metaChange
		for range 1 + rnd.IntN(4) {
			c := metaChange{kind: metaKind(1 + rnd.IntN(9)), key: fmt.Sprint("key", rnd.IntN(12))}
			switch rnd.IntN(5) {
			case 0, 1:
			case 2:
				c.value = []byte{}
			default:
				c.value = bytes.Repeat([]byte{byte(step)}, rnd.IntN(60))
			}
			changes = append(changes, c)
		}
		if err := m.set(changes...); err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if k := (metaKey{c.kind, c.key}); c.value == nil {
				delete(want, k)
			} else {
				want[k] = string(c.value)
			}
		}
		if step%50 != 49 {
			continue
		}
		if step%100 == 99 {
			fs = fs.CrashClone(seed + uint64(step))
		}
		if err := m.close(); err != nil {
			t.Fatal(err)
		}
		m = open()
		if got := m.content(t); !maps.Equal(got, want) {
			t.Fatalf("step %d: %d entities, want %d", step, len(got), len(want))
		}
	}
	time.Sleep(time.Minute) // the cleaner has time
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	for _, name := range fs.Names() {
		n, err := fs.Size(name)
		if err != nil {
			t.Fatal(err)
		}
		size += n
	}
	if size > 128<<10 { // all changes have more than 130 KiB; mostly it is a third, but the last segment may have grown
		t.Errorf("the journal has %d bytes", size)
	}
}

// TestMetadataFailure makes no change after one that failed.
func TestMetadataFailure(t *testing.T) {
	fs := vfs.NewMem()
	b, err := Open(&Options{Dir: "d", fs: fs})
	if err != nil {
		t.Fatal(err)
	}
	fs.SetFail(func(op vfs.Op, name string) error {
		if strings.Contains(name, metaDir) {
			return errors.New("the disk is broken")
		}
		return nil
	})
	for range 2 {
		if err := b.CreateTopic("t", nil); err == nil {
			t.Error("a topic that is not durable")
		}
	}
	if _, ok := b.Topic("t"); ok {
		t.Error("there is a topic")
	}
	if err := b.Close(); err == nil {
		t.Error("Close is content")
	}
}

func FuzzMetadataRecord(f *testing.F) {
	f.Add(encodeChanges([]metaChange{{metaTopic, "t", []byte("v")}, {metaConfig, "c", nil}, {metaACL, "a", []byte{}}}))
	f.Fuzz(func(t *testing.T, record []byte) {
		var list []metaChange
		if eachChange(record, func(c metaChange) { list = append(list, c) }) != nil {
			return
		}
		var again []metaChange
		if err := eachChange(encodeChanges(list), func(c metaChange) { again = append(again, c) }); err != nil || len(again) != len(list) {
			t.Fatal(err, len(again), len(list))
		}
		for i := range list {
			if list[i].kind != again[i].kind || list[i].key != again[i].key || (list[i].value == nil) != (again[i].value == nil) || !bytes.Equal(list[i].value, again[i].value) {
				t.Errorf("%+v and %+v", list[i], again[i])
			}
		}
		_, _ = decodeTopic("t", record)
		_, _ = decodeConfigs(record)
	})
}
