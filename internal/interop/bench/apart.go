package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/pathem"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// apart is what a scenario runs in that starts its own processes: quicpeer at both ends of a path, or on loopback.
type apart struct {
	*options
	dir           string
	bin           string
	ca, cert, key string
	path          *pathem.Path // nil: loopback
}

// prepare builds quicpeer and makes the certificates and, unless o is nil, the path.
func (a *apart) prepare(ctx context.Context, o *pathem.Options) (err error) {
	a.bin = filepath.Join(a.dir, "quicpeer")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", a.bin, "./cmd/quicpeer").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if a.ca, a.cert, a.key, err = peer.WriteCerts(a.dir); err != nil {
		return err
	}
	if o != nil {
		a.path, err = pathem.New(o)
	}
	return err
}

func (a *apart) close() {
	if a.path != nil {
		a.path.Close()
	}
}

// A quicServer is a running quicpeer that serves.
type quicServer struct {
	cmd            *exec.Cmd
	in             io.WriteCloser
	out            *bufio.Scanner
	errors         bytes.Buffer
	tcp, tls, quic string
	release        func() // gives the ports back
}

// serve starts the server.
func (a *apart) serve(ctx context.Context) (*quicServer, error) {
	s := new(quicServer)
	if err := a.choose(s); err != nil {
		return nil, err
	}
	s.cmd = exec.CommandContext(ctx, a.bin, "serve", "-cert", a.cert, "-key", a.key, "-tcp", s.tcp, "-tls", s.tls, "-quic", s.quic)
	s.cmd.Stderr = &s.errors
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewScanner(out)
	s.out.Buffer(nil, 64<<20)
	start := s.cmd.Start
	if a.path != nil {
		start = func() error { return a.path.Server.Start(s.cmd) }
	}
	if err := start(); err != nil {
		return nil, err
	}
	if !s.out.Scan() || s.out.Text() != "ready" {
		s.stop()
		return nil, fmt.Errorf("quicpeer serve: %s", &s.errors)
	}
	return s, nil
}

// choose chooses the addresses of the server: on loopback those that nobody uses.
func (a *apart) choose(s *quicServer) error {
	if a.path != nil {
		for i, addr := range []*string{&s.tcp, &s.tls, &s.quic} {
			*addr = netip.AddrPortFrom(pathem.ServerAddr, uint16(7001+i)).String()
		}
		return nil
	}
	addrs, release, err := peer.Ports("tcp", "tcp", "udp")
	if err != nil {
		return err
	}
	s.tcp, s.tls, s.quic, s.release = addrs[0], addrs[1], addrs[2], release
	return nil
}

// received is the report of the server, see there.
type received struct {
	Late            []int64
	Received, Again int64
	Gap             int64
}

// something returns what the server received since the last report, and waits for it if that is nothing.
func (s *quicServer) something() (*received, error) {
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		r, err := s.report()
		if err != nil || r.Received > 0 {
			return r, err
		}
		if time.Since(begin) > patience {
			return nil, errors.New("nothing got through")
		}
	}
}

// report returns what the server received since the last report.
func (s *quicServer) report() (*received, error) {
	if _, err := io.WriteString(s.in, "report\n"); err != nil {
		return nil, err
	}
	if !s.out.Scan() {
		return nil, errors.Join(s.out.Err(), fmt.Errorf("no report: %s", &s.errors))
	}
	r := new(received)
	return r, json.Unmarshal(s.out.Bytes(), r)
}

func (s *quicServer) stop() {
	s.in.Close()
	kill := time.AfterFunc(5*time.Second, func() { s.cmd.Process.Kill() })
	defer kill.Stop()
	s.cmd.Wait()
	if s.release != nil {
		s.release()
	}
}

// client returns a command for a client of the server.
func (a *apart) client(ctx context.Context, s *quicServer, role, via string, args ...string) *exec.Cmd {
	addr := s.quic
	switch via {
	case "tcp":
		addr = s.tcp
	case "tls":
		addr = s.tls
	}
	cmd := exec.CommandContext(ctx, a.bin, append([]string{role, "-via", via, "-server", addr, "-ca", a.ca}, args...)...)
	cmd.WaitDelay = patience
	return cmd
}

// start starts a command at the client's end.
func (a *apart) start(cmd *exec.Cmd) error {
	if a.path == nil {
		return cmd.Start()
	}
	return a.path.Client.Start(cmd)
}

// run runs a client and reads what it says into v.
func (a *apart) run(cmd *exec.Cmd, v any) error {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, io.MultiWriter(&errs, os.Stderr)
	if err := a.start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[1:4], " "), err, &errs)
	}
	return json.Unmarshal(out.Bytes(), v)
}
