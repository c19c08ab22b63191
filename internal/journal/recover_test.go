package journal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// batches makes a journal in "d" of which each call's records are a batch of their own, and returns what it has.
func batches(t *testing.T, fs *vfs.Mem, segmentSize int64, lengths ...[]int) (want []string) {
	t.Helper()
	j := mustOpen(t, "d", &Options{FS: fs, MinFree: -1, SegmentSize: segmentSize})
	want = replay(t, j)
	if err := j.Start(newCollector().handler()); err != nil {
		t.Fatal(err)
	}
	for _, l := range lengths {
		j.mu.Lock() // so that they are one batch
		for _, n := range l {
			lsn := j.next
			j.add(record(lsn, n), nil, n, false)
			want = append(want, fmt.Sprintf("%d:%d", lsn, n))
		}
		j.mu.Unlock()
		if err := j.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		for g := j.s.active(); g.used > g.size/2 && !j.hasPrepared(); { // it is poked by the next write
			poke(j.prepare)
			runtime.Gosched()
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

// content returns and set changes a file of a Mem.
func content(t *testing.T, fs *vfs.Mem, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := f.Size()
	b := make([]byte, n)
	_, _ = f.ReadAt(b, 0)
	return b
}

func set(t *testing.T, fs *vfs.Mem, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name)
	if err == nil {
		_, err = f.WriteAt(b, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fs.SyncDir("d")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// segments returns the names of the segments with records, and where the batches of the last one begin and end.
func segments(t *testing.T, fs *vfs.Mem, kind string) (names []string, at []int64) {
	t.Helper()
	s, err := openStore("d", &Options{FS: fs, MinFree: -1, Kind: kind})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, g := range s.segs {
		names = append(names, path.Join("d", g.name))
		at = at[:0]
		r := g.reader(1 << 20)
		for {
			b, err := r.next()
			if err != nil {
				break
			}
			at = append(at, b.off)
		}
		at = append(at, r.off)
	}
	return names, at
}

func TestTornTailAtEveryByte(t *testing.T) {
	fs := vfs.NewMem()
	want := batches(t, fs, 8<<10, []int{10, 20}, []int{30}, []int{40, 50, 60})
	names, at := segments(t, fs, "")
	file := names[0]
	good := content(t, fs, file)
	from, to := at[2], at[3]
	rnd := rand.New(rand.NewPCG(1, 1))
	for cut := from; cut < to; cut++ {
		for _, how := range []string{"short", "zeros", "junk"} {
			b := slices.Clone(good)
			switch how {
			case "short":
				b = b[:cut]
			case "zeros":
				clear(b[cut:])
			case "junk":
				for i := cut; i < to; i++ {
					b[i] = byte(rnd.Uint32()) | 1
				}
			}
			if slices.Equal(b[:min(int64(len(b)), to)], good[:to]) {
				continue // the last bytes are zeros
			}
			c := fs.CrashClone(1)
			set(t, c, file, b)
			if got := batches(t, c, 8<<10, []int{70}); !slices.Equal(got[:3], want[:3]) || got[3] != "4:70" {
				t.Fatalf("%s at %d: %v", how, cut, got)
			}
			if got := replayed(t, "d", &Options{FS: c, MinFree: -1}); len(got) != 4 || got[3] != "4:70" {
				t.Fatalf("%s at %d: then %v", how, cut, got)
			}
		}
	}
}

// TestNoGhosts: when of a torn write of several batches a later one is valid, nothing of it must come back, even if what
// is written next ends exactly where it begins.
func TestNoGhosts(t *testing.T) {
	fs := vfs.NewMem()
	batches(t, fs, 8<<10, []int{10}, []int{20}, []int{30})
	names, at := segments(t, fs, "")
	b := content(t, fs, names[0])
	g := header{}
	if err := g.decode("", b); err != nil {
		t.Fatal(err)
	}
	// The third batch as it is when it was written with the second, of which one byte is wrong.
	body := slices.Clone(b[at[2]+batchHeader : at[3]])
	putBatch(b[at[2]:at[2]+batchHeader], &batch{base: 3, durable: 2, count: 1}, len(body), g.seed, body)
	b[at[1]+batchHeader+5] ^= 1
	set(t, fs, names[0], b)
	got := batches(t, fs, 8<<10, []int{20})
	if want := []string{"1:10", "2:20"}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if got := replayed(t, "d", &Options{FS: fs, MinFree: -1}); len(got) != 2 {
		t.Fatalf("a ghost: %v", got)
	}
}

func TestCorruption(t *testing.T) {
	fs := vfs.NewMem()
	var all [][]int
	for i := range 150 {
		all = append(all, []int{100 + i, 200})
	}
	batches(t, fs, 8<<10, all...)
	names, at := segments(t, fs, "")
	if len(names) < 3 {
		t.Fatalf("segments %v", names)
	}
	try := func(what, file string, off int64, wantOffset int64) {
		t.Helper()
		c := fs.CrashClone(1)
		b := content(t, c, file)
		b[off] ^= 0x10
		set(t, c, file, b)
		j, err := Open[int]("d", &Options{FS: c, MinFree: -1})
		if err == nil {
			err = j.Replay(nil)
			_ = j.Close()
		}
		if wantOffset < 0 {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			return
		}
		var e *CorruptError
		if !errors.As(err, &e) || !strings.HasSuffix(e.File, path.Base(file)) || e.Offset != wantOffset {
			t.Errorf("%s: %v, want offset %d of %s", what, err, wantOffset, file)
		}
	}
	last := names[len(names)-1]
	for i, from := range at[:len(at)-2] {
		for off := from; off < at[i+1]; off += 7 {
			try(fmt.Sprintf("batch %d of the last segment at %d", i, off), last, off, from)
		}
	}
	try("the last batch", last, at[len(at)-2]+40, -1)
	try("the first batch of the first segment", names[0], segHeader+50, segHeader)
	try("the first batch of the second segment", names[1], segHeader+50, segHeader)
	try("a header", names[1], 20, 0)
	try("the directory's header", "d/journal", 14, 0)

	c := fs.CrashClone(1)
	if err := c.Remove("d/journal"); err != nil {
		t.Fatal(err)
	}
	var e *CorruptError
	if _, err := Open[int]("d", &Options{FS: c}); !errors.As(err, &e) {
		t.Errorf("without the directory's header: %v", err)
	}
}

// TestNoSyncLosesTheTail: without syncs a damaged end is cut off, whatever follows, and what is left is a prefix.
func TestNoSyncLosesTheTail(t *testing.T) {
	for seed := range uint64(60) {
		fs := vfs.NewMem()
		o := &Options{FS: fs, MinFree: -1, SegmentSize: 8 << 10, NoSync: true}
		j := mustOpen(t, "d", o)
		c := newCollector()
		if err := j.Start(c.handler()); err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range 200 {
			want = append(want, appendAll(j, i, int(100+seed))...)
			if i%3 == 0 {
				c.await(i)
			}
		}
		c.await(200)
		crashed := fs.CrashClone(seed)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		o.FS = crashed
		got := replayed(t, "d", o)
		if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("seed %d: %d records that are no prefix", seed, len(got))
		}
		if again := batches(t, crashed, 8<<10, []int{5}); len(again) != len(got)+1 {
			t.Fatalf("seed %d: %d records, then %d", seed, len(got), len(again))
		}
	}
}

func TestLock(t *testing.T) {
	for name, o := range map[string]*Options{"memory": mem(), "system": {MinFree: -1}} {
		dir := t.TempDir()
		j := mustOpen(t, dir, o)
		if _, err := Open[int](dir, o); !errors.Is(err, ErrLocked) {
			t.Errorf("%s: %v", name, err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if err := mustOpen(t, dir, o).Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestKind(t *testing.T) {
	o := mem()
	o.Kind = "one"
	if err := mustOpen(t, "d", o).Close(); err != nil {
		t.Fatal(err)
	}
	o.Kind = "two"
	if _, err := Open[int]("d", o); !errors.Is(err, ErrKind) {
		t.Error(err)
	}
	o.Kind = strings.Repeat("x", maxKind+1)
	if _, err := Open[int]("e", o); err == nil {
		t.Error("a long kind")
	}
}

func TestVersion(t *testing.T) {
	for _, file := range []string{"d/journal", ""} {
		fs := vfs.NewMem()
		batches(t, fs, 8<<10, []int{1})
		if file == "" {
			names, _ := segments(t, fs, "")
			file = names[0]
		}
		b := content(t, fs, file)
		b[8]++
		set(t, fs, file, b)
		var e *VersionError
		if _, err := Open[int]("d", &Options{FS: fs}); !errors.As(err, &e) || e.Version != Version+1 || !strings.Contains(err.Error(), "newer release") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestEmptySegmentWithARemainder: a segment that was made ahead, and has the second batch of a torn write that was never
// durable, is not used.
func TestEmptySegmentWithARemainder(t *testing.T) {
	fs := vfs.NewMem()
	batches(t, fs, 8<<10, []int{3000}, []int{3000}, []int{10})
	s, err := openStore("d", &Options{FS: fs, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.trailing) != 1 {
		t.Fatalf("%d empty segments", len(s.trailing))
	}
	g := s.trailing[0]
	body := []byte("\x00\x05ghost")
	h := make([]byte, batchHeader)
	for _, durable := range []uint64{1, 5} {
		putBatch(h, &batch{base: 4, durable: durable, count: 1}, len(body), g.seed, body)
		c := fs.CrashClone(1)
		f, err := c.Open("d/" + g.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(append(h, body...), 700); err != nil {
			t.Fatal(err)
		}
		j := mustOpen(t, "d", &Options{FS: c, MinFree: -1})
		err = j.Replay(nil)
		_ = j.Close()
		var corrupt *CorruptError
		if durable == 5 {
			if !errors.As(err, &corrupt) || corrupt.File != "d/"+g.name {
				t.Errorf("%v", err)
			}
		} else if err != nil || slices.Contains(c.Names(), "d/"+g.name) {
			t.Errorf("%v, %v", err, c.Names())
		}
	}
	_ = s.close()
}
