package journal

import (
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/vfs"
)

var golden = flag.Bool("golden", false, "make the golden directory of this version of the format, if there is none")

// TestGolden opens a directory of each version of the format, for ever.
func TestGolden(t *testing.T) {
	if *golden {
		makeGolden(t, fmt.Sprintf("testdata/v%d", Version))
	}
	dirs, err := filepath.Glob("testdata/v*")
	if err != nil || len(dirs) != Version {
		t.Fatalf("%v, %v: want a directory for each version", dirs, err)
	}
	for _, dir := range dirs {
		fs := vfs.NewMem() // a copy: opening removes what is left over
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if e.Name() != "records.txt" {
				set(t, fs, "d/"+e.Name(), b)
			}
		}
		want, err := os.ReadFile(filepath.Join(dir, "records.txt"))
		if err != nil {
			t.Fatal(err)
		}
		j := mustOpen(t, "d", &Options{FS: fs, Kind: "model", MinFree: -1})
		if got := listing(t, j); got != string(want) {
			t.Errorf("%s: the records are others:\n%s", dir, got)
		}
		if err := j.Start(newCollector().handler()); err != nil {
			t.Fatal(err)
		}
		if j.Append([]byte("more"), nil, 4); j.Close() != nil {
			t.Error(err)
		}
	}
}

// listing replays a journal and describes its records.
func listing(t *testing.T, j *Journal[int]) string {
	var b strings.Builder
	err := j.Replay(func(lsn uint64, record []byte) error {
		fmt.Fprintf(&b, "%d %d %08x\n", lsn, len(record), crc32.ChecksumIEEE(record))
		j.Restore(lsn, len(record))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "next %d\n", j.Next())
	return b.String()
}

// makeGolden makes a directory with segments as they were written, rewritten ones, gaps, tombstones, bodies of all
// lengths, and a write that was cut off.
func makeGolden(t *testing.T, dir string) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	synctest.Test(t, func(t *testing.T) {
		w, err := openOwner(fs, Options{SegmentSize: 4 << 10, Kind: "model", MinFree: -1}, rand.New(rand.NewPCG(4, 2)))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.start(); err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			w.act(25)
			if i%5 == 0 {
				time.Sleep(20 * time.Millisecond)
			}
		}
		time.Sleep(time.Second)
		if err := w.j.Close(); err != nil {
			t.Fatal(err)
		}
	})
	names, at := segments(t, fs, "model")
	last := names[len(names)-1]
	b := content(t, fs, last)
	b[at[len(at)-1]-1] ^= 1
	set(t, fs, last, b)
	for _, name := range fs.Names() {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), content(t, fs, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	j := mustOpen(t, "d", &Options{FS: fs, Kind: "model", MinFree: -1})
	defer j.Close()
	if err := os.WriteFile(filepath.Join(dir, "records.txt"), []byte(listing(t, j)), 0o644); err != nil {
		t.Fatal(err)
	}
}
