package quicnet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
)

// stores runs a test over both kinds of stores.
func stores(t *testing.T, f func(t *testing.T, s Store)) {
	o := &StoreOptions{PerOrigin: 3, Total: 5, Age: time.Hour}
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, NewMemoryStore(o)) })
	})
	t.Run("directory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, openStore(t, filepath.Join(t.TempDir(), "tickets"), o)) })
	})
}

func openStore(t *testing.T, dir string, o *StoreOptions) *DirStore {
	t.Helper()
	s, err := OpenDirStore(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drain takes all items of an origin.
func drain(s Store, kind ItemKind, origin string) (all []string) {
	for b := s.Take(kind, origin); b != nil; b = s.Take(kind, origin) {
		all = append(all, string(b))
	}
	return all
}

func TestStore(t *testing.T) {
	stores(t, func(t *testing.T, s Store) {
		expect := func(what string, got []string, want ...string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		mine := []byte("one")
		s.Put(SessionTicket, "a", mine)
		mine[0] = 'x'
		s.Put(AddressToken, "a", []byte("token"))
		s.Put(SessionTicket, "b", []byte("b"))
		s.Put(SessionTicket, "a", []byte("two"))
		expect("newest first, each once", drain(s, SessionTicket, "a"), "two", "one")
		expect("another kind", drain(s, AddressToken, "a"), "token")
		expect("another origin", drain(s, SessionTicket, "b"), "b")
		expect("nothing", drain(s, SessionTicket, "b"))

		for i := range 5 {
			s.Put(SessionTicket, "a", fmt.Append(nil, i))
		}
		expect("of one origin", drain(s, SessionTicket, "a"), "4", "3", "2")
		for i := range 8 {
			s.Put(SessionTicket, fmt.Sprint(i), fmt.Append(nil, i))
		}
		expect("too many origins", drain(s, SessionTicket, "2"))
		expect("the last origins", drain(s, SessionTicket, "3"), "3")

		s.Put(SessionTicket, "a", []byte("x"))
		s.Put(AddressToken, "a", []byte("y"))
		s.Drop(SessionTicket, "a")
		expect("dropped", drain(s, SessionTicket, "a"))
		expect("not dropped", drain(s, AddressToken, "a"), "y")

		s.Put(SessionTicket, "a", []byte("old"))
		time.Sleep(30 * time.Minute)
		s.Put(SessionTicket, "a", []byte("new"))
		time.Sleep(31 * time.Minute)
		expect("too old", drain(s, SessionTicket, "a"), "new")

		s.Put(SessionTicket, "a", make([]byte, maxItem+1))
		expect("too large", drain(s, SessionTicket, "a"))
		s.Put(SessionTicket, "a", bytes.Repeat([]byte("z"), maxItem))
		if got := drain(s, SessionTicket, "a"); len(got) != 1 || len(got[0]) != maxItem {
			t.Error("the largest item is not kept")
		}
	})
}

// TestStoreConcurrent: an item goes to one of those who take, also of several stores on one directory.
func TestStoreConcurrent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tickets")
	o := &StoreOptions{PerOrigin: 1000, Total: 1000}
	mem := NewMemoryStore(o)
	for name, all := range map[string][]Store{
		"memory":    {mem, mem},
		"directory": {openStore(t, dir, o), openStore(t, dir, o), openStore(t, dir, o)},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 40
			var got sync.Map
			var taken atomic.Int32
			var done sync.WaitGroup
			for i, s := range all {
				done.Go(func() {
					for j := range n {
						s.Put(SessionTicket, "a", fmt.Appendf(nil, "%d-%d", i, j))
						if b := s.Take(SessionTicket, "a"); b != nil {
							if _, twice := got.LoadOrStore(string(b), true); twice {
								t.Errorf("%s was taken twice", b)
							}
							taken.Add(1)
						}
					}
				})
			}
			done.Wait()
			for _, b := range drain(all[0], SessionTicket, "a") {
				if _, twice := got.LoadOrStore(b, true); twice {
					t.Errorf("%s was taken twice", b)
				}
				taken.Add(1)
			}
			if int(taken.Load()) != n*len(all) {
				t.Errorf("%d of %d", taken.Load(), n*len(all))
			}
		})
	}
}

func TestDirStoreReopens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "tickets")
	s := openStore(t, dir, nil)
	s.Put(SessionTicket, "a", []byte("1"))
	s.Put(SessionTicket, "a", []byte("2"))
	if runtime.GOOS != "windows" {
		for _, name := range append(names(t, dir), ".") {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v", name, info.Mode())
			}
		}
	}
	if got := drain(openStore(t, dir, nil), SessionTicket, "a"); !slices.Equal(got, []string{"2", "1"}) {
		t.Errorf("%q", got)
	}
	if got := drain(s, SessionTicket, "a"); got != nil {
		t.Errorf("%q", got)
	}
	if left := names(t, dir); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestDirStoreDamage: of a damaged file nothing is used, and the file goes. Files of later versions and others stay.
func TestDirStoreDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tickets")
	s := openStore(t, dir, nil)
	put := func(content []byte) string {
		s.Put(SessionTicket, "a", []byte("x"))
		all := names(t, dir)
		name := filepath.Join(dir, all[len(all)-1])
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good := appendItem(nil, storedItem{kind: SessionTicket, origin: "a", at: time.Now(), data: []byte("good")})
	for i := range good {
		for _, bad := range [][]byte{good[:i], slices.Concat(good[:i], []byte{good[i] ^ 1}, good[i+1:])} {
			if i == len(itemMagic) && len(bad) == len(good) {
				bad[i] = 0 // a later version is another case
			}
			name := put(bad)
			if b := s.Take(SessionTicket, "a"); b != nil {
				t.Fatalf("%q of a damaged file", b)
			}
			if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("the damaged file is still there: %v", err)
			}
		}
	}
	if s.Failures() != uint64(2*len(good)) {
		t.Errorf("%d failures", s.Failures())
	}
	put(slices.Concat(good, make([]byte, 1<<20)))
	if b := s.Take(SessionTicket, "a"); b != nil {
		t.Errorf("%q of a file that is too long", b)
	}
	put(appendItem(nil, storedItem{kind: SessionTicket, origin: "b", at: time.Now(), data: []byte("b's")}))
	if b := s.Take(SessionTicket, "a"); b != nil {
		t.Errorf("%q of another origin", b)
	}

	later := slices.Clone(good)
	later[len(itemMagic)]++
	kept := []string{put(later), filepath.Join(dir, "README"), filepath.Join(dir, strings.Repeat("0", 24)+"-x"+itemSuffix)}
	for _, name := range kept[1:] {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.Put(SessionTicket, "a", []byte("older"))
	if got := drain(s, SessionTicket, "a"); !slices.Equal(got, []string{"older"}) {
		t.Errorf("%q", got)
	}
	for _, name := range kept {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
}

func TestDirStoreSweeps(t *testing.T) {
	dir := t.TempDir()
	old, young := filepath.Join(dir, tempPrefix+"1"), filepath.Join(dir, tempPrefix+"2")
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * tempAge)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir, nil)
	if left := names(t, dir); !slices.Equal(left, []string{tempPrefix + "2"}) {
		t.Errorf("%q", left)
	}
}

func TestOpenDirStoreRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDirStore(file, nil); err == nil {
		t.Error("a file is a directory")
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenDirStore(dir, nil); err == nil {
			t.Error("others may write")
		}
	}
}

// TestDirStoreGone: without its directory a store has nothing and takes nothing, no more.
func TestDirStoreGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tickets")
	s := openStore(t, dir, nil)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.Put(SessionTicket, "a", []byte("x"))
	s.Drop(SessionTicket, "a")
	if b := s.Take(SessionTicket, "a"); b != nil {
		t.Errorf("%q", b)
	}
	if s.Failures() != 3 {
		t.Errorf("%d failures", s.Failures())
	}
}

// TestTokenLayout: the tokens of quic-go are what newTokenStore takes them for.
func TestTokenLayout(t *testing.T) {
	if !tokenReadable() {
		t.Fatalf("quic.ClientToken has changed: %#v", quic.ClientToken{})
	}
	c := newTokenStore(NewMemoryStore(nil), "Example.COM:1")
	if c.Pop("") != nil {
		t.Error("a token of nothing")
	}
	in := parseToken(slices.Concat([]byte{tokenVersion, 0, 0, 0, 0, 0, 0, 0, 7}, []byte("token")))
	c.Put("", in)
	out := c.Pop("")
	if fmt.Sprintf("%#v", in) != fmt.Sprintf("%#v", out) || fmt.Sprintf("%#v", out) != `&quic.ClientToken{data:[]uint8{0x74, 0x6f, 0x6b, 0x65, 0x6e}, rtt:7}` {
		t.Errorf("%#v, %#v", in, out)
	}
	for _, bad := range []string{"", "\x01", "\x01\x00\x00\x00\x00\x00\x00\x00\x00", "\x02\x00\x00\x00\x00\x00\x00\x00\x00x"} {
		if parseToken([]byte(bad)) != nil {
			t.Errorf("%q is a token", bad)
		}
	}
	if got := fmt.Sprintf("%#v", parseToken([]byte("\x01\xff\xff\xff\xff\xff\xff\xff\xffx"))); !strings.Contains(got, "rtt:0") {
		t.Error(got)
	}
}

func TestItemKindString(t *testing.T) {
	if got := SessionTicket.String() + AddressToken.String() + ItemKind(9).String(); got != "session ticketaddress tokenunknown" {
		t.Error(got)
	}
}

func FuzzParseItem(f *testing.F) {
	f.Add(appendItem(nil, storedItem{kind: SessionTicket, origin: "mqtt host:1", at: time.UnixMilli(1), data: []byte("ticket")}))
	f.Add(appendItem(nil, storedItem{kind: AddressToken, at: time.UnixMilli(-1)}))
	f.Add([]byte(itemMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		item, err := parseItem(b)
		if err == nil {
			if got := appendItem(nil, item); !bytes.Equal(got, b) {
				t.Errorf("%x is written as %x", b, got)
			}
			b = item.data
		} else if item.data != nil {
			t.Error("an error and an item")
		}
		// With the right checksum, so that what is behind it is reached.
		if len(b) < 1<<12 {
			origin := string(b[:len(b)/2])
			full := appendItem(nil, storedItem{kind: 1, origin: origin, at: time.UnixMilli(0), data: b[len(b)/2:]})
			if i, err := parseItem(full); (len(origin) <= maxOrigin) != (err == nil) || err == nil && (i.origin != origin || !bytes.Equal(i.data, b[len(b)/2:])) {
				t.Errorf("%q: %v", full, err)
			}
		}
		if ticket, ok := parseTicket(b); ok {
			again := appendTicket(nil, ticket)
			if same, ok := parseTicket(again); !ok || same.protocol != ticket.protocol || same.earlyData != ticket.earlyData {
				t.Errorf("%x is written as %x", b, again)
			}
		}
		parseToken(b)
	})
}
