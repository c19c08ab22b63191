package mqttclient

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/mqtt"
)

// power is the machine that the client runs on. It fails at the n-th moment: a write to the network, which still goes out,
// or a sync. What the client does after that counts for nobody.
type power struct {
	dial func(context.Context) (net.Conn, error)
	fs   *vfs.Mem
	seed uint64

	mu    sync.Mutex
	n     int // moments until it fails
	seen  int
	off   bool
	after *vfs.Mem // what is on the disk then
	conns []net.Conn
}

var errOff = errors.New("power is off")

// moment counts, and reports whether the power is on before.
func (p *power) moment() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return false
	}
	p.seen++
	if p.n--; p.n == 0 {
		p.off = true
		p.after = p.fs.CrashClone(p.seed)
		if p.seed == 0 {
			p.after = p.fs.DropClone()
		}
		for _, nc := range p.conns {
			go nc.Close()
		}
	}
	return true
}

func (p *power) on() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.off
}

type poweredConn struct {
	net.Conn
	p *power
}

func (c *poweredConn) Write(b []byte) (int, error) {
	if !c.p.moment() {
		return 0, errOff
	}
	return c.Conn.Write(b)
}

func (p *power) connect(ctx context.Context, _ *url.URL) (net.Conn, error) {
	if !p.on() {
		return nil, errOff
	}
	nc, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.conns = append(p.conns, nc)
	if p.off {
		nc.Close()
	}
	p.mu.Unlock()
	return &poweredConn{nc, p}, nil
}

// life is what a client of the simulation and its application have done, over several lives of their machine.
type life struct {
	l        *memnet.Listener
	fs       *vfs.Mem
	accepted []string
	seen     map[string]int  // how often the application got a message
	safe     map[string]bool // QoS 2 messages for which the server has PUBREC
	wrong    string
}

// one is one life of the machine, of n moments. It publishes some messages and takes those that come until the power
// fails, or until done.
func (f *life) one(name string, n int, seed uint64, skip bool, done func() bool) (moments int) {
	p := &power{dial: func(ctx context.Context) (net.Conn, error) { return f.l.Dial(ctx) }, fs: f.fs, seed: seed, n: n}
	p.fs.SetFail(func(op vfs.Op, _ string) error {
		if op == vfs.OpSync && !p.moment() {
			return errOff
		}
		return nil
	})
	o := &Options{
		Servers: []string{"mem://a"}, Dialers: map[string]DialFunc{"mem": p.connect}, ClientID: "c", Backoff: Backoff{Min: 1e6, Max: 1e7},
		Dir: "data", fs: p.fs, segment: 16 << 10, Unrouted: &SubscribeOptions{}, Limits: Limits{MaxInflight: 5},
	}
	c, err := New(o)
	if errors.Is(err, fs.ErrNotExist) { // the journal was being made when the power failed
		c, err = New(o)
	}
	if err != nil && p.on() {
		f.wrong += err.Error() + "; "
	}
	if skip {
		p.fs.SetSkipSync(func(op vfs.Op, _ string) bool { return op == vfs.OpSync })
	}
	if err == nil {
		f.live(c, p, name, done)
		c.Close()
		time.Sleep(2 * closeTimeout)
	}
	if !p.on() {
		f.fs = p.after
	} else {
		p.fs.SetFail(nil)
	}
	return p.seen
}

// live is what the application does.
func (f *life) live(c *Client, p *power, name string, done func() bool) {
	var g sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	defer g.Wait()
	defer cancel()
	unrouted, mine := c.Unrouted(), make(map[string]bool)
	g.Go(func() {
		for m := range unrouted.Messages(ctx) {
			if m == nil || !p.on() {
				return
			}
			text := fmt.Sprintf("%s %s", m.Topic, m.Payload)
			f.seen[text]++
			if m.QoS == mqtt.QoS2 && (mine[text] || f.safe[text]) {
				f.wrong += text + " came again; "
			}
			mine[text] = true
		}
	})
	for i := range 10 {
		m := &Message{Topic: fmt.Sprint(1 + i%2), Payload: fmt.Appendf(nil, "%s%d", name, i), QoS: mqtt.QoS(1 + i%2)}
		publication, err := c.PublishAsync(ctx, m)
		if err != nil || !p.on() {
			break
		}
		f.accepted = append(f.accepted, fmt.Sprintf("%s %s", m.Topic, m.Payload))
		for wait := i%4 == 3; wait && p.on(); {
			select {
			case <-publication.Done():
				wait = false
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	for i := 0; i < 1000 && p.on() && !done(); i++ {
		time.Sleep(10 * time.Millisecond)
	}
}

// confirmed notes which messages the server will not send again.
func (f *life) confirmed(s *server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pending := make(map[int]bool)
	for o := range s.state.Outbound() {
		pending[o.Ref.(int)] = !o.Released
	}
	for i := range s.sent {
		f.safe[fmt.Sprint("in ", i)] = !pending[i]
	}
}

// simulate lets a client live several times: the first time for n moments, the second for k, then until all is done. It
// returns how many moments the first life had, and what is wrong then.
func simulate(t *testing.T, n, k int, seed uint64, skip bool) (moments int, wrong string) {
	l := memnet.Listen("a")
	s := serve(t, l)
	for i := range 12 {
		s.outgoing = append(s.outgoing, message("in", fmt.Sprint(i), mqtt.QoS(1+i%2), 0))
	}
	f := &life{l: l, fs: vfs.NewMem(), seen: make(map[string]int), safe: make(map[string]bool)}
	done := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		got := make(map[string]bool)
		for _, r := range s.received {
			got[r] = true
		}
		for _, a := range f.accepted {
			if !got[a] {
				return false
			}
		}
		return s.settled == len(s.outgoing)
	}
	moments = f.one("a", n, seed, skip, done)
	f.confirmed(s)
	f.one("b", k, seed, skip, done)
	f.confirmed(s)
	f.one("c", -1, seed, skip, done)
	wrong = f.wrong
	counts := make(map[string]int)
	for _, r := range s.got() {
		counts[r]++
	}
	for _, a := range f.accepted {
		if counts[a] == 0 {
			wrong += "lost " + a + "; "
		}
	}
	last := ""
	for _, r := range s.got() {
		if r[0] == '2' && counts[r] > 1 {
			wrong += "twice " + r + "; "
		}
		if r[0] == '2' && r < last && r[2] == last[2] {
			wrong += r + " after " + last + "; "
		}
		if r[0] == '2' {
			last = r
		}
	}
	for i := range s.outgoing {
		text := fmt.Sprint("in ", i)
		if f.seen[text] == 0 {
			wrong += "never came " + text + "; "
		}
	}
	if !done() {
		wrong += "not done; "
	}
	l.Close()
	return moments, wrong
}

// TestDirPowerLoss: at each sync and at each write to the network the power may fail. Nothing that was accepted is lost,
// and at QoS 2 nothing comes twice.
func TestDirPowerLoss(t *testing.T) {
	run := func(n, k int, seed uint64, skip bool) (moments int, wrong string) {
		synctest.Test(t, func(t *testing.T) { moments, wrong = simulate(t, n, k, seed, skip) })
		return moments, wrong
	}
	total, wrong := run(-1, -1, 0, false)
	if wrong != "" || total < 20 {
		t.Fatalf("%d moments, without a loss of power: %s", total, wrong)
	}
	for n := 1; n <= total+5; n++ {
		for seed := range uint64(3) {
			if _, wrong := run(n, 3+n%17, seed, false); wrong != "" {
				t.Fatalf("power failed at moment %d, seed %d: %s", n, seed, wrong)
			}
		}
	}
	for n := 1; n <= total; n++ { // a disk that syncs nothing must be noticed
		if _, wrong := run(n, -1, 0, true); wrong != "" {
			t.Log(n, wrong)
			return
		}
	}
	t.Error("nobody noticed that nothing is synced")
}
