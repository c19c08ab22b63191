package kafkabroker

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// fuzzFiles are the files of a directory that was not closed, by their names in it.
func fuzzFiles(t testing.TB) map[string][]byte {
	m := vfs.NewMem()
	c := smallConfig()
	c.segmentBytes = 600
	d := testDir(t, m, &logDirOptions{config: func(string) *logConfig { return c }})
	l, err := createOne(d, kafkawire.UUID{7}, c, testID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int32(8) {
		b := testBatch{records: []testRecord{{1000, "k", "v"}, {2000, "l", "w"}}, producer: 5, sequence: 2 * i, txn: true}
		mustAppend(t, l, b.bytes(t))
		if i%3 == 2 {
			mustAppendFrom(t, l, marker(t, 5, 0, kafka.ControlAbort, 0, 3000), fromCoordinator)
		}
	}
	if err := errors.Join(d.close(), m.Remove("d/"+cleanShutdownFile), m.Remove("d/"+recoveryPointFile)); err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for _, name := range m.Names() {
		b, err := readFile(m, name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(name, "d/")] = b
	}
	return files
}

// FuzzRecovery opens a directory in which one file is damaged, with and without the mark that it was closed in order. Nothing
// panics; without the mark, what can be read can be read again after the log has gone on. With it the content is trusted:
// damage is found by those who read it, and a directory that needs what is damaged is not opened.
func FuzzRecovery(f *testing.F) {
	files := fuzzFiles(f)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		b := files[name]
		f.Add(byte(i), false, b)
		f.Add(byte(i), true, b[:len(b)/2])
		if len(b) > 20 {
			damaged := slices.Clone(b)
			damaged[len(b)/3] ^= 0x55
			f.Add(byte(i), false, damaged)
			f.Add(byte(i), true, append(damaged, damaged...))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, clean bool, content []byte) {
		m := vfs.NewMem()
		for i, name := range names {
			b := files[name]
			if i == int(which)%len(names) {
				b = content
			}
			if err := writeFile(m, path.Join("d", name), b); err != nil {
				t.Fatal(err)
			}
		}
		if clean {
			_ = writeFile(m, "d/"+cleanShutdownFile, nil)
		}
		c := smallConfig()
		c.compact, c.maxDecoded = true, 1<<20
		o := &logDirOptions{fs: m, config: func(string) *logConfig { return c }}
		d, err := openLogDir("d", o)
		if err != nil {
			return
		}
		l := d.get(testID)
		if l == nil {
			t.Skip()
		}
		_, _, _ = l.offsetFor(1500)
		_, _, _ = l.latestTime()
		_, _ = l.clean(new(offsetMap), 1<<40)
		before, err := readContents(l, l.state().start, readUncommitted)
		_, _ = readContents(l, l.state().start, readCommitted)
		keyed := testBatch{records: []testRecord{{1000, "new", "new"}}}
		res, err2 := l.append(&appendRequest{records: keyed.raw()})
		if err := d.close(); err != nil || err2 != nil {
			return
		}
		again, err3 := openLogDir("d", o)
		if err3 != nil {
			if clean {
				return
			}
			t.Fatal(err3)
		}
		defer again.close()
		if err != nil || clean {
			return
		}
		l = again.get(testID)
		after, err := readContents(l, l.state().start, readUncommitted)
		if err != nil || !strings.HasPrefix(after, before) || !strings.HasSuffix(after, ":new=new") || res.last+1 != l.state().end {
			t.Errorf("%+v, %v\n%q\n%q", res, err, before, after)
		}
	})
}

// FuzzAppend appends what a client sends. What is taken can be read.
func FuzzAppend(f *testing.F) {
	f.Add(values("a", "b").raw())
	f.Add(testBatch{records: []testRecord{{1, "k", "v"}}, producer: 3, txn: true}.raw())
	f.Add(marker(f, 3, 0, kafka.ControlCommit, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, _ := testLog(t, smallConfig())
		for _, from := range []appendOrigin{fromClient, fromCoordinator, fromLeader} {
			end := l.state().end
			r, err := l.append(&appendRequest{records: slices.Clone(b), origin: from, now: 5})
			var coded *kafka.Error
			if err != nil {
				if !errors.As(err, &coded) || l.state().end != end {
					t.Fatalf("%T %v", err, err)
				}
				continue
			}
			if r.last < r.base || r.last+1 != l.state().end {
				t.Fatalf("%+v", r)
			}
			got, err := l.fetch(fetchRequest{offset: end, maxBytes: 1 << 20, atLeast: true, isolation: readAll})
			if err != nil {
				t.Fatal(err)
			}
			out, err := got.read(make([]byte, got.size()))
			got.close()
			if err != nil || len(out) != len(b) {
				t.Fatalf("%d bytes of %d, %v", len(out), len(b), err)
			}
		}
	})
}
