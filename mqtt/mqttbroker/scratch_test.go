package mqttbroker
import ("testing";"fmt";"runtime";"time";"os";"github.com/quartet-mq/quartet/internal/journal")
func TestScratchSessions(t *testing.T) {
	dir := "/tmp/scratchj"; os.RemoveAll(dir); defer os.RemoveAll(dir)
	j, err := journal.Open[Token](dir, &journal.Options{Kind: "mqtt", NoSync: true})
	if err != nil { t.Fatal(err) }
	j.Replay(func(uint64, []byte) error { return nil })
	j.Start(journal.Handler[Token]{Complete: func([]Token, journal.Outcome) {}, Checkpoint: func(uint64) {}, Keep: func(uint64, []byte) journal.Verdict { return journal.Keep }})
	const n = 1_000_000
	for i := range n {
		rec := record{kind: recordSession, session: uint64(i + 1), owner: owner{client: fmt.Sprintf("client-%07d", i), expiry: forever}}
		b := rec.appendTo(nil)
		j.Append(b, nil, len(b))
		rec = record{kind: recordSubscribed, session: uint64(i + 1), filter: fmt.Sprintf("devices/%07d/cmd", i), opts: 1}
		j.Append(rec.appendTo(nil), nil, 0)
	}
	j.Close()
	var m runtime.MemStats
	runtime.GC(); runtime.ReadMemStats(&m); before := m.HeapAlloc
	begin := time.Now()
	b, err := New(&Options{Dir: dir, NoSync: true, Authenticate: AllowAll, SysInterval: -1})
	if err != nil { t.Fatal(err) }
	took := time.Since(begin)
	runtime.ReadMemStats(&m); sys := m.Sys
	rss, _ := os.ReadFile("/proc/self/statm")
	runtime.GC(); runtime.ReadMemStats(&m)
	t.Logf("took %v, %d bytes a session, sys %d MB, statm %s", took, (m.HeapAlloc-before)/n, sys>>20, rss)
	runtime.KeepAlive(b)
	b.Close()
}
