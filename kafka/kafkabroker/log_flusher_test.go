package kafkabroker

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/internal/vfs"
)

// TestFlusherWait: who waits for the segments that were rolled does not wait for those that are rolled meanwhile. Removing a
// topic would never end on a broker that has much to do.
func TestFlusherWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, m := testLog(t, smallConfig())
		roll := func() {
			mustAppend(t, l, values("v").raw())
			l.writing.Lock()
			defer l.writing.Unlock()
			if err := l.roll(0, 1000, l.config()); err != nil {
				t.Error(err)
			}
		}
		first, second := make(chan bool), make(chan bool)
		syncs := 0
		m.SetFail(func(op vfs.Op, name string) error {
			if op != vfs.OpSync || !strings.HasSuffix(name, logSuffix) {
				return nil
			}
			switch syncs++; syncs {
			case 1:
				<-first
				roll()
			case 2:
				<-second
			}
			return nil
		})
		roll()
		var done atomic.Bool
		go func() {
			l.dir.flusher.wait()
			done.Store(true)
		}()
		synctest.Wait()
		if done.Load() {
			t.Error("nothing was made durable")
		}
		close(first)
		synctest.Wait()
		if !done.Load() {
			t.Error("it waits for what was rolled later")
		}
		close(second)
		synctest.Wait()
		m.SetFail(nil)
		if s := l.state(); s.recovery != 2 {
			t.Errorf("%+v", s)
		}
	})
}
