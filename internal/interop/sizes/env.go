package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/load"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// An env is what a test runs in: a fresh broker and a table to fill.
type env struct {
	*peer.Proc
	*options
	ctx   context.Context
	table table
}

func newEnv(ctx context.Context, o *options, b peer.Broker, bin string, t test) (*env, error) {
	b.StartTimeout = 10 * time.Minute
	p, err := peer.StartWith(ctx, b, bin, "", peer.Config{Listeners: peer.Listeners{AMQP: t.amqp, HTTP: true}, Durable: true, Args: peer.Unlimited()})
	if err != nil {
		return nil, err
	}
	return &env{Proc: p, options: o, ctx: ctx, table: table{name: t.name}}, nil
}

// A table is the result of a test.
type table struct {
	name string
	rows [][2]string
}

// add adds a row, and logs it.
func (t *table) add(what, format string, args ...any) {
	value := fmt.Sprintf(format, args...)
	log.Printf("%s: %s: %s", t.name, what, value)
	t.rows = append(t.rows, [2]string{what, value})
}

func (t *table) write(w io.Writer) {
	fmt.Fprintf(w, "\n| %s | |\n|---|--:|\n", t.name)
	for _, r := range t.rows {
		fmt.Fprintf(w, "| %s | %s |\n", r[0], r[1])
	}
}

// mib prints a number of bytes.
func mib[T int64 | float64](n T) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

// memory adds a row with the memory of the broker.
func (e *env) memory(what string) (int64, error) {
	n, err := e.RSS()
	if err == nil {
		e.table.add(what+": memory", "%s", mib(n))
	}
	return n, err
}

// disk returns the size of the directory: that of the files, and what they take in the file system.
func (e *env) disk() (size, taken int64) {
	filepath.WalkDir(e.Data, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // the file was removed meanwhile
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				taken += s.Blocks * 512
			}
		}
		return nil
	})
	return size, taken
}

// metrics reads the broker's metrics, by name with labels.
func (e *env) metrics() (map[string]float64, error) {
	resp, err := http.Get("http://" + e.HTTP + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	m := make(map[string]float64)
	s := bufio.NewScanner(resp.Body)
	for s.Scan() {
		if line := s.Text(); !strings.HasPrefix(line, "#") {
			i := strings.LastIndexByte(line, ' ')
			v, err := strconv.ParseFloat(line[i+1:], 64)
			if err != nil {
				return nil, err
			}
			m[line[:i]] = v
		}
	}
	return m, s.Err()
}

// Names of metrics.
const (
	liveBytes      = `quartet_journal_live_bytes{broker="mqtt"}`
	diskBytes      = `quartet_journal_disk_bytes{broker="mqtt"}`
	writtenBytes   = `quartet_journal_bytes_total{broker="mqtt",kind="written"}`
	syncs          = `quartet_journal_syncs_total{broker="mqtt"}`
	rewrittenBytes = `quartet_journal_bytes_total{broker="mqtt",kind="rewritten"}`
)

// restart starts the broker again and adds a row with the time from then until a client has the session id. It returns the
// connection.
func (e *env) restart(what, id string) (*load.Conn, error) {
	begin := time.Now()
	if err := e.Exec(); err != nil {
		return nil, err
	}
	for {
		c, present, err := load.Resume(e.TCP, id)
		if err == nil {
			d := time.Since(begin)
			if !present {
				c.Close()
				return nil, fmt.Errorf("the session %s is lost", id)
			}
			e.table.add(what+": start to session present", "%v", d.Round(time.Millisecond))
			return c, nil
		}
		select {
		case <-e.Done():
			return nil, fmt.Errorf("the broker ended: %w", err)
		case <-e.ctx.Done():
			return nil, e.ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
		if time.Since(begin) > 10*time.Minute {
			return nil, fmt.Errorf("not ready after 10 minutes: %w", err)
		}
	}
}

// stop ends the broker politely and adds a row with the time it takes.
func (e *env) stop() {
	begin := time.Now()
	e.Terminate(2 * time.Minute)
	e.table.add("SIGTERM: time to end", "%v", time.Since(begin).Round(time.Millisecond))
}

// goodbye ends a connection with DISCONNECT. It waits until the broker has read it.
func goodbye(c *load.Conn) error {
	defer c.Close()
	if err := c.Write([]byte{0xE0, 0}); err != nil {
		return err
	}
	var b [4096]byte
	for {
		if _, err := c.Read(b[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// away makes a session with a subscription and leaves it.
func (e *env) away(id string, qos byte, filter string) error {
	c, _, err := load.Resume(e.TCP, id)
	if err != nil {
		return err
	}
	if err := c.Subscribe(qos, filter); err != nil {
		c.Close()
		return err
	}
	return goodbye(c)
}

// rest waits for the broker to come to rest.
func (e *env) rest() { time.Sleep(e.quiet) }

// quantile returns one of the times, which it sorts.
func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[int(q*float64(len(times)-1))]
}

// pageCache tells whether the file system may have kept what was written in memory.
func pageCache() string {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}
