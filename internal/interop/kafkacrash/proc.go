package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// proc is our gateway, as a process of its own.
type proc struct {
	addr, dir, bin string
	cmd            *exec.Cmd
	log            *tail
	done           chan struct{}
	release        func() // gives the port back
}

// tail keeps the end of what a process prints. It is safe for concurrent use.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.b.Len() > 1<<20 {
		t.b.Next(t.b.Len() / 2)
	}
	return t.b.Write(p)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// build builds the gateway in a directory and chooses its address.
func build(ctx context.Context, dir string) (*proc, error) {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/quartet-mq/quartet")
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	p := &proc{dir: dir, bin: filepath.Join(dir, "gateway"), log: new(tail)}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", p.bin, "./examples/gateway")
	cmd.Dir = strings.TrimSpace(string(out))
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	addrs, release, err := peer.Ports("tcp")
	if err != nil {
		return nil, err
	}
	p.addr, p.release = addrs[0], release
	return p, nil
}

// exec starts the process and does not wait.
func (p *proc) exec() error {
	p.cmd = exec.Command(p.bin, "-mqtt", "", "-ws", "", "-amqp", "", "-http", "", "-kafka", p.addr, "-data", filepath.Join(p.dir, "data"))
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	cmd, done := p.cmd, make(chan struct{})
	p.done = done
	go func() { _ = cmd.Wait(); close(done) }()
	return nil
}

// start starts the process and waits until it accepts connections.
func (p *proc) start(ctx context.Context) error {
	if err := p.exec(); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if c, err := net.DialTimeout("tcp", p.addr, time.Second); err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("the gateway has ended: %s", p.log)
		default:
		}
	}
	p.kill()
	return fmt.Errorf("the gateway does not listen: %s", p.log)
}

// kill ends the process with SIGKILL.
func (p *proc) kill() {
	_ = p.cmd.Process.Signal(os.Kill)
	<-p.done
}
