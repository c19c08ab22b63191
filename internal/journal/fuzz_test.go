package journal

import (
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// FuzzSegment gives bytes as a segment to a journal: it never panics, takes no more memory than the file has, and what it
// accepts can be read and appended to.
func FuzzSegment(f *testing.F) {
	fs := vfs.NewMem()
	s, err := openStore("d", &Options{FS: fs, MinFree: -1, SegmentSize: 4 << 10})
	if err != nil {
		f.Fatal(err)
	}
	id := s.id
	_ = s.close()
	// The input: what follows the header, with checksums to be put right where a batch seems to be.
	for _, lengths := range [][]int{{10}, {1, 2, 3}, {300, 0, 5000}} {
		var fr frames
		fr.reset(1)
		for i, n := range lengths {
			fr.add(uint64(i+1), record(uint64(i+1), n), nil, n, i == 1)
		}
		fr.finish(7, 1)
		f.Add(fr.buf, false, uint64(0))
		f.Add(append(fr.buf, fr.buf...), true, uint64(9))
	}
	f.Fuzz(func(t *testing.T, b []byte, repair bool, rewritten uint64) {
		h := header{seed: 7, dir: id, id: 1, rewritten: rewritten}
		if rewritten != 0 {
			h.first, h.end = 1, rewritten
		}
		if repair {
			for at := 0; at+batchHeader <= len(b); {
				size := min(int(le.Uint32(b[at+4:])), len(b)-at-batchHeader)
				head := batch{base: le.Uint64(b[at+8:]), durable: le.Uint64(b[at+16:]), count: le.Uint32(b[at+24:]), tombs: le.Uint32(b[at+28:])}
				putBatch(b[at:at+batchHeader], &head, size, 7, b[at+batchHeader:at+batchHeader+size])
				at += batchHeader + size
			}
		}
		c := fs.CrashClone(1)
		set2(t, c, "d/"+segName(1), append(h.encode(), b...))
		j, err := Open[int]("d", &Options{FS: c, MinFree: -1, SegmentSize: 4 << 10})
		if err != nil {
			return
		}
		defer j.Close()
		seen, last := 0, uint64(0)
		if err := j.Replay(func(lsn uint64, rec []byte) error {
			if lsn <= last || len(rec) > len(b) {
				t.Fatalf("record %d of %d bytes after %d", lsn, len(rec), last)
			}
			last = lsn
			seen++
			return nil
		}); err != nil {
			return
		}
		if last > maxLSN-1000 {
			return // no journal has so many records
		}
		c2 := newCollector()
		if err := j.Start(c2.handler()); err != nil {
			return
		}
		lsn := j.AppendAwait([]byte("x"), nil, 1, 1)
		c2.await(1)
		r := j.NewReader()
		if got, err := r.Read(lsn); err != nil || string(got) != "x" {
			t.Fatalf("%q, %v", got, err)
		}
		if last > 0 && rewritten == 0 {
			_, _ = r.Read(last)
		}
	})
}

func set2(t *testing.T, fs *vfs.Mem, name string, b []byte) {
	f, err := fs.Create(name)
	if err == nil {
		_, err = f.WriteAt(b, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}
