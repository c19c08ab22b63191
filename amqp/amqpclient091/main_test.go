package amqpclient091

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestMain fails when goroutines are left behind.
func TestMain(m *testing.M) {
	code := m.Run()
	for range 500 {
		if code != 0 || runtime.NumGoroutine() <= 2 {
			os.Exit(code)
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", buf[:runtime.Stack(buf, true)])
	os.Exit(1)
}
