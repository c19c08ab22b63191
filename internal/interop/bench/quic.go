package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/pathem"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// quicRTT is the round-trip time of the emulated path.
const quicRTT = 50 * time.Millisecond

// quicLate is the one-way time after which a message counts as late; 25 ms of it are the path's.
const quicLate = 40 * time.Millisecond

// quicScenarios compare MQTT by TLS over TCP with MQTT over QUIC, both ends ours.
func quicScenarios() []scenario {
	return []scenario{
		{name: "quic connect", apart: quicConnect},
		{name: "quic flows, 1 % lost", apart: quicFlows(pathem.Way{Loss: 0.01})},
		{name: "quic flows, 2 % lost", apart: quicFlows(pathem.Way{Loss: 0.02})},
		{name: "quic flows, 1 % lost in bursts of 3", apart: quicFlows(pathem.Way{Loss: 0.01, Burst: 3})},
		{name: "quic move", apart: quicMove},
		{name: "quic idle", apart: quicIdle},
		{name: "quic flood", apart: quicFlood},
	}
}

// A via is a way to connect.
type via struct{ flag, name string }

var (
	viaTCP       = via{"tcp", "TCP"}
	viaTLS       = via{"tls", "TLS over TCP"}
	viaQUIC      = via{"quic", "QUIC, one stream"}
	viaStreams   = via{"streams", "QUIC, a stream for each topic"}
	viaDatagrams = via{"datagrams", "QUIC, datagrams"}
)

// withPath prepares a path and a server and calls f. Where a path cannot be had, it says so and measures nothing.
func withPath(ctx context.Context, a *apart, w pathem.Way, f func(*quicServer) (*outcome, error)) (*outcome, error) {
	w.Delay = quicRTT / 2
	return withServer(ctx, a, &pathem.Options{Up: w, Down: w, Seed: 1}, f)
}

// withServer is withPath with all of a path's options, nil for loopback.
func withServer(ctx context.Context, a *apart, o *pathem.Options, f func(*quicServer) (*outcome, error)) (*outcome, error) {
	err := a.prepare(ctx, o)
	if errors.Is(err, errors.ErrUnsupported) {
		log.Printf("without a path: %v", err)
		return nil, errors.ErrUnsupported
	}
	if err != nil {
		return nil, err
	}
	defer a.close()
	s, err := a.serve(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	return f(s)
}

// quicConnect measures the time from dialing to CONNACK.
func quicConnect(ctx context.Context, a *apart) (*outcome, error) {
	return withPath(ctx, a, pathem.Way{}, func(s *quicServer) (*outcome, error) {
		out := new(outcome)
		for _, x := range []struct {
			via
			how  string
			args []string
		}{
			{viaTLS, "", nil},
			{viaTLS, ", resumed", []string{"-resume"}},
			{viaQUIC, "", nil},
			{viaQUIC, ", resumed", []string{"-resume"}},
			{viaQUIC, ", 0-RTT", []string{"-early"}},
		} {
			var c struct {
				Took  []int64
				Early uint64
			}
			n := max(3, 9/a.few)
			cmd := a.client(ctx, s, "connect", x.flag, append(x.args, "-n", fmt.Sprint(n), "-interval", "120ms")...)
			if err := a.run(cmd, &c); err != nil {
				return nil, err
			}
			name := fmt.Sprintf("quic connect to CONNACK, RTT %v, %s%s", quicRTT, x.name, x.how)
			out.figure(name+": median ms", float64(c.Took[len(c.Took)/2])/1e3)
			if x.how == ", 0-RTT" {
				out.figure(name+": connections whose early data was taken, %", float64(c.Early)/float64(n)*100)
			}
		}
		return out, nil
	})
}

func (o *outcome) figure(name string, v float64) {
	o.figures = append(o.figures, figure{name: name, value: v, context: true})
}

// quicFlows publishes eight flows over a path that loses packets.
func quicFlows(w pathem.Way) func(context.Context, *apart) (*outcome, error) {
	return func(ctx context.Context, a *apart) (*outcome, error) {
		return withPath(ctx, a, w, func(s *quicServer) (*outcome, error) {
			out := new(outcome)
			for _, v := range []via{viaTLS, viaQUIC, viaStreams, viaDatagrams} {
				var c struct{ Sent, Failed int64 }
				if err := a.run(a.client(ctx, s, "flows", v.flag, "-n", "8", "-d", a.d.String()), &c); err != nil {
					return nil, err
				}
				r, err := s.something()
				if err != nil {
					return nil, fmt.Errorf("%s: %w", v.name, err)
				}
				name := fmt.Sprintf("quic 8 flows, %v, %s: ", pathem.Way{Delay: quicRTT / 2, Loss: w.Loss, Burst: w.Burst}, v.name)
				late := 0
				for _, us := range r.Late {
					if us > quicLate.Microseconds() {
						late++
					}
				}
				slices.Sort(r.Late)
				at := func(p float64) float64 { return float64(r.Late[int(p*float64(len(r.Late)-1))]) / 1e3 }
				out.figure(name+fmt.Sprintf("later than %v, %% of messages", quicLate), float64(late)/float64(len(r.Late))*100)
				out.figure(name+"p50 ms", at(0.5))
				out.figure(name+"p95 ms", at(0.95))
				out.figure(name+"p99 ms", at(0.99))
				out.figure(name+"lost, % of messages", float64(c.Sent-int64(len(r.Late)))/float64(c.Sent)*100)
			}
			return out, nil
		})
	}
}

// quicMove publishes while the client's address changes.
func quicMove(ctx context.Context, a *apart) (*outcome, error) {
	return withPath(ctx, a, pathem.Way{}, func(s *quicServer) (*outcome, error) {
		out := new(outcome)
		for _, v := range []via{viaTLS, viaQUIC} {
			for _, qos := range []string{"1", "2"} {
				var c struct{ Sent, Failed int64 }
				args := []string{"-qos", qos, "-interval", "10ms", "-d", min(a.d, 3*time.Second).String(), "-local", pathem.ClientAddr.String(), "-other", pathem.OtherClientAddr.String()}
				if err := a.run(a.client(ctx, s, "move", v.flag, args...), &c); err != nil {
					return nil, err
				}
				r, err := s.report()
				if err != nil {
					return nil, err
				}
				name := fmt.Sprintf("quic move to another address, RTT %v, QoS %s, %s: ", quicRTT, qos, v.name)
				out.figure(name+"longest gap ms", float64(r.Gap)/1e3)
				out.figure(name+"lost", float64(c.Sent-int64(len(r.Late))))
				out.figure(name+"came again", float64(r.Again))
			}
		}
		return out, nil
	})
}

// quicIdle measures the server's memory for each connection that says nothing.
func quicIdle(ctx context.Context, a *apart) (*outcome, error) {
	out := new(outcome)
	for _, v := range []via{viaTCP, viaTLS, viaQUIC} {
		_, err := withServer(ctx, a, nil, func(s *quicServer) (*outcome, error) {
			n := max(10, 1000/a.few)
			hold := func(n int) (func(), error) {
				cmd := a.client(ctx, s, "idle", v.flag, "-n", fmt.Sprint(n))
				in, err := cmd.StdinPipe()
				if err != nil {
					return nil, err
				}
				outPipe, err := cmd.StdoutPipe()
				if err != nil {
					return nil, err
				}
				if err := a.start(cmd); err != nil {
					return nil, err
				}
				stop := func() { in.Close(); cmd.Wait() }
				if _, err := outPipe.Read(make([]byte, 1)); err != nil {
					stop()
					return nil, fmt.Errorf("idle: %w", err)
				}
				go io.Copy(io.Discard, outPipe)
				return stop, nil
			}
			few, err := hold(10)
			if err != nil {
				return nil, err
			}
			defer few()
			time.Sleep(a.quiet)
			before, err := peer.RSS(s.cmd.Process.Pid)
			if err != nil {
				return nil, err
			}
			many, err := hold(n)
			if err != nil {
				return nil, err
			}
			defer many()
			time.Sleep(a.quiet)
			after, err := peer.RSS(s.cmd.Process.Pid)
			out.figure(fmt.Sprintf("quic idle connection, %s: RSS of the broker, KiB", v.name), float64(after-before)/float64(n)/1024)
			return nil, err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// quicFlood measures the broker's processor time for each message.
func quicFlood(ctx context.Context, a *apart) (*outcome, error) {
	out := new(outcome)
	for _, v := range []via{viaTCP, viaTLS, viaQUIC, viaStreams} {
		_, err := withServer(ctx, a, nil, func(s *quicServer) (*outcome, error) {
			var c struct{ Sent, Took int64 }
			before, err := peer.CPU(s.cmd.Process.Pid)
			if err != nil {
				return nil, err
			}
			if err := a.run(a.client(ctx, s, "flood", v.flag, "-n", "8", "-d", a.d.String()), &c); err != nil {
				return nil, err
			}
			time.Sleep(a.quiet)
			after, err := peer.CPU(s.cmd.Process.Pid)
			if err != nil {
				return nil, err
			}
			r, err := s.something()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", v.name, err)
			}
			name := fmt.Sprintf("quic loopback, 100 bytes QoS 0, %s: ", v.name)
			out.figure(name+"CPU of the broker, µs each", float64((after-before).Nanoseconds())/1e3/float64(r.Received))
			out.figure(name+"thousand messages per second", float64(r.Received)/float64(c.Took)*1e3)
			out.figure(name+"lost", float64(c.Sent-r.Received))
			return nil, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
