package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// The reference model of an owner: it has messages, which are live until a tombstone kills them, and notes, of which the
// last for each key counts and which a checkpoint appends again.
type model struct {
	messages map[uint64]int    // LSN to length
	notes    map[uint64]uint64 // key to LSN; the value is the number that the note was made with
	values   map[uint64]uint64
}

func newModel() *model {
	return &model{make(map[uint64]int), make(map[uint64]uint64), make(map[uint64]uint64)}
}

const (
	kindMessage   = 'M'
	kindTombstone = 'T'
	kindNote      = 'N'
)

// action is a record: a message of a length, the end of one, or a note.
type action struct {
	lsn, key, value uint64
	kind            byte
	size            int
}

func (a action) encode() []byte {
	b := make([]byte, 17, 17+a.size)
	b[0] = a.kind
	binary.LittleEndian.PutUint64(b[1:], a.key)
	binary.LittleEndian.PutUint64(b[9:], a.value)
	return append(b, record(a.value, a.size)...)
}

func decodeAction(lsn uint64, b []byte) (a action, err error) {
	if len(b) < 17 {
		return a, fmt.Errorf("record %d has %d bytes", lsn, len(b))
	}
	a = action{lsn: lsn, kind: b[0], key: binary.LittleEndian.Uint64(b[1:]), value: binary.LittleEndian.Uint64(b[9:]), size: len(b) - 17}
	if string(b[17:]) != string(record(a.value, a.size)) {
		return a, fmt.Errorf("record %d is damaged", lsn)
	}
	return a, nil
}

func (m *model) apply(a action) {
	switch a.kind {
	case kindMessage:
		m.messages[a.lsn] = a.size + 17
	case kindTombstone:
		delete(m.messages, a.key)
	case kindNote:
		m.notes[a.key], m.values[a.key] = a.lsn, a.value
	}
}

// differs says how a model differs from another, or nothing.
func (m *model) differs(o *model) string {
	for lsn, n := range m.messages {
		if o.messages[lsn] != n {
			return fmt.Sprintf("message %d of %d bytes is missing", lsn, n)
		}
	}
	for lsn := range o.messages {
		if m.messages[lsn] == 0 {
			return fmt.Sprintf("message %d is back", lsn)
		}
	}
	for key, v := range m.values {
		if o.values[key] != v {
			return fmt.Sprintf("note %d is %d, not %d", key, o.values[key], v)
		}
	}
	if len(m.values) != len(o.values) {
		return "there are other notes"
	}
	return ""
}

// owner runs a journal with random actions.
type owner struct {
	j   *Journal[uint64]
	rnd *rand.Rand

	mu      sync.Mutex
	m       *model
	history []action // all that was appended, in order
	seq     uint64

	completed atomic.Uint64 // the highest token that was Done
	broken    atomic.Bool   // there was another outcome
	misorder  atomic.Bool
	failed    atomic.Uint64 // the lowest token that has Failed
}

// openOwner opens a journal and rebuilds the state.
func openOwner(fs vfs.FS, o Options, rnd *rand.Rand) (*owner, error) {
	o.FS = fs
	w := &owner{rnd: rnd, m: newModel()}
	var err error
	if w.j, err = Open[uint64]("d", &o); err != nil {
		return nil, err
	}
	last := uint64(0)
	err = w.j.Replay(func(lsn uint64, b []byte) error {
		a, err := decodeAction(lsn, b)
		if err != nil {
			return err
		}
		if lsn <= last {
			return fmt.Errorf("record %d after %d", lsn, last)
		}
		last = lsn
		w.seq = max(w.seq, a.value)
		w.m.apply(a)
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, w.j.Close())
	}
	for lsn, n := range w.m.messages {
		w.j.Restore(lsn, n)
	}
	return w, nil
}

func (w *owner) start() error {
	return w.j.Start(Handler[uint64]{
		Complete: func(tokens []uint64, o Outcome) {
			for _, t := range tokens {
				switch {
				case o != Done:
					w.broken.Store(true)
					if o == Failed && w.failed.Load() == 0 {
						w.failed.Store(t)
					}
				case w.broken.Load() || t < w.completed.Load():
					w.misorder.Store(true)
				default:
					w.completed.Store(t)
				}
			}
		},
		Checkpoint: func(below uint64) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for key, lsn := range w.m.notes {
				if lsn < below { // nobody awaits it: Close may come first
					w.record(action{kind: kindNote, key: key, value: w.m.values[key], size: 20})
				}
			}
		},
		Keep: func(lsn uint64, b []byte) Verdict {
			a, err := decodeAction(lsn, b)
			if err != nil {
				panic(err)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			switch {
			case a.kind == kindTombstone:
				return Tombstone
			case a.kind == kindNote && w.m.notes[a.key] == lsn, a.kind == kindMessage && w.m.messages[lsn] > 0:
				return Keep
			}
			return Drop
		},
	})
}

// append appends a record, notes it and awaits it. The caller holds mu.
func (w *owner) append(a action) {
	if lsn := w.record(a); lsn != 0 {
		w.j.Await(lsn)
	}
}

// record appends a record and notes it. The caller holds mu.
func (w *owner) record(a action) uint64 {
	b := a.encode()
	switch a.kind {
	case kindTombstone:
		a.lsn = w.j.AppendTombstone(b[:5], b[5:])
		w.j.Release(a.key, w.m.messages[a.key])
	case kindMessage:
		a.lsn = w.j.Append(b[:1], b[1:], len(b))
	default:
		a.lsn = w.j.Append(b, nil, 0)
	}
	if a.lsn != 0 {
		w.m.apply(a)
		w.history = append(w.history, a)
	}
	return a.lsn
}

// act does something at random.
func (w *owner) act(keep int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seq++
	switch k := w.rnd.IntN(10); {
	case k == 0:
		w.append(action{kind: kindNote, key: uint64(w.rnd.IntN(8)), value: w.seq, size: w.rnd.IntN(100)})
	case k == 1:
		w.j.Reserve()
	case len(w.m.messages) > keep || len(w.m.messages) > 0 && k < 5:
		// By turns any one, so that a segment keeps some of its messages for long, and mostly young ones, so that whole
		// segments are dead that have tombstones for older ones.
		all := slices.Sorted(maps.Keys(w.m.messages))
		if w.seq/300%2 == 0 && k != 2 {
			all = all[len(all)-len(all)/3-1:]
		}
		lsn := all[w.rnd.IntN(len(all))]
		if k == 3 {
			lsn = all[len(all)-1]
		}
		w.append(action{kind: kindTombstone, key: lsn, value: w.seq})
	default:
		size := w.rnd.IntN(400)
		if w.rnd.IntN(100) == 0 {
			size = w.rnd.IntN(9000)
		}
		w.append(action{kind: kindMessage, value: w.seq, size: size})
	}
}

// crash is a file system after a loss of power, and what must be in it.
type crash struct {
	fs        *vfs.Mem
	completed uint64
	at        string
}

// verify opens a crashed file system and compares it with what was appended before and in its last life.
func (c crash) verify(before *model, history []action, o Options) (next uint64, err error) {
	w, err := openOwner(c.fs, o, nil)
	if err != nil {
		return 0, err
	}
	next = w.j.Next()
	if err := w.j.Close(); err != nil {
		return 0, err
	}
	if next <= c.completed {
		return 0, fmt.Errorf("records from %d on are lost, of which %d was completed", next, c.completed)
	}
	want := newModel()
	for lsn, n := range before.messages {
		want.messages[lsn] = n
	}
	for key, v := range before.values {
		want.values[key], want.notes[key] = v, before.notes[key]
	}
	for _, a := range history {
		if a.lsn < next {
			want.apply(a)
		}
	}
	if diff := want.differs(w.m); diff != "" {
		return 0, errors.New(diff)
	}
	return next, nil
}

// simulate runs an owner through some lives, each of which ends with a loss of power, and verifies the state after
// losses of power at random operations of the file system. It returns the first thing that is wrong.
func simulate(seed uint64, o Options, lives, actions int, mutate func(*vfs.Mem)) (clones int, err error) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewMem()
	for life := range lives {
		w, err := openOwner(fs, o, rnd)
		if err != nil {
			return clones, fmt.Errorf("life %d: %w", life, err)
		}
		before := newModel()
		for lsn, n := range w.m.messages {
			before.messages[lsn] = n
		}
		for key, v := range w.m.values {
			before.values[key], before.notes[key] = v, w.m.notes[key]
		}
		if mutate != nil {
			mutate(fs)
		}
		var mu sync.Mutex
		var crashes []crash
		dice := rand.New(rand.NewPCG(seed, uint64(life)))
		fs.SetFail(func(op vfs.Op, name string) error {
			mu.Lock()
			defer mu.Unlock()
			if op != vfs.OpRead && dice.IntN(20) == 0 || op == vfs.OpRename || op == vfs.OpRemove || op == vfs.OpSyncDir {
				c := crash{completed: w.completed.Load(), at: fmt.Sprintf("%v %s", op, name)}
				if dice.IntN(3) == 0 {
					c.fs = fs.DropClone()
				} else {
					c.fs = fs.CrashClone(dice.Uint64())
				}
				crashes = append(crashes, c)
			}
			return nil
		})
		if err := w.start(); err != nil {
			return clones, fmt.Errorf("life %d: start: %w", life, err)
		}
		keep := 20 + rnd.IntN(100)
		for i := range actions {
			w.act(keep)
			if rnd.IntN(4) == 0 || i%64 == 0 {
				_ = w.j.Sync(context.Background())
			}
		}
		last := crash{completed: w.completed.Load(), at: "the end"}
		last.fs = fs.CrashClone(rnd.Uint64())
		fs.SetFail(nil)
		if err := w.j.Close(); err != nil {
			return clones, fmt.Errorf("life %d: close: %w", life, err)
		}
		if w.misorder.Load() || w.broken.Load() {
			return clones, fmt.Errorf("life %d: completions out of order or failed", life)
		}
		for i, c := range append(crashes, last) {
			clones++
			if _, err := c.verify(before, w.history, o); err != nil {
				return clones, fmt.Errorf("life %d: crash %d of %d, before %s: %w\n%s", life, i, len(crashes), c.at, err, strings.Join(c.fs.Names(), " "))
			}
		}
		fs = last.fs
	}
	return clones, nil
}

func simulation() Options { return Options{SegmentSize: 16 << 10, MinFree: -1, Kind: "model"} }

func TestModel(t *testing.T) {
	seeds := uint64(5)
	if testing.Short() {
		seeds = 2
	}
	if s, err := strconv.ParseUint(os.Getenv("JOURNAL_SEEDS"), 10, 64); err == nil {
		seeds = s
	}
	total := 0
	for seed := range seeds {
		n, err := simulate(seed, simulation(), 3, 1200, nil)
		total += n
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	t.Logf("%d losses of power", total)
}

// TestModelFindsMutants: a sync that does nothing must be found, whichever it is.
func TestModelFindsMutants(t *testing.T) {
	for name, skip := range map[string]func(op vfs.Op, name string) bool{
		"every":     func(vfs.Op, string) bool { return true },
		"directory": func(op vfs.Op, _ string) bool { return op == vfs.OpSyncDir },
		"log":       func(op vfs.Op, name string) bool { return op == vfs.OpSync && strings.HasSuffix(name, segSuffix) },
		"rewritten": func(op vfs.Op, name string) bool { return op == vfs.OpSync && strings.HasSuffix(name, tmpSuffix) },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(10) {
				_, err := simulate(seed, simulation(), 3, 1200, func(m *vfs.Mem) { m.SetSkipSync(skip) })
				if err != nil {
					t.Logf("found with seed %d: %v", seed, err)
					return
				}
			}
			t.Error("nothing found")
		})
	}
}
