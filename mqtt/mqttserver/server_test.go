package mqttserver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

var versions = []mqtt.Version{mqtt.Version31, mqtt.Version311, mqtt.Version5}

// TestFlow sends a message at each QoS from one client to another, in each version.
func TestFlow(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			bubble(t, nil, nil, func(w *world) {
				sub := w.client(&mqtt.Connect{ClientID: "sub", Version: v})
				sub.subscribe("a/#", 2)
				pub := w.client(&mqtt.Connect{ClientID: "pub", Version: v})
				pub.send(publishTo("a/0", "zero", 0, 0), publishTo("a/1", "one", 1, 7), publishTo("a/2", "two", 2, 8))
				pub.expect(&mqtt.Puback{ID: 7}, &mqtt.Pubrec{ID: 8})
				pub.send(&mqtt.Pubrel{ID: 8})
				pub.expect(&mqtt.Pubcomp{ID: 8})
				sub.expect(publishTo("a/0", "zero", 0, 0), publishTo("a/1", "one", 1, 1), publishTo("a/2", "two", 2, 2))
				sub.send(&mqtt.Puback{ID: 1}, &mqtt.Pubrec{ID: 2})
				sub.expect(&mqtt.Pubrel{ID: 2})
				sub.send(&mqtt.Pubcomp{ID: 2}, &mqtt.Pingreq{})
				sub.expect(&mqtt.Pingresp{})
				sub.send(&mqtt.Unsubscribe{ID: 3, Filters: []string{"a/#"}})
				if _, ok := sub.recv().(*mqtt.Unsuback); !ok {
					t.Fatal("no UNSUBACK")
				}
				s := w.router.last()
				sub.send(&mqtt.Disconnect{})
				sub.expectEnd()
				pub.nc.Close()
				<-s.done
				if !errors.Is(s.cause, net.ErrClosed) || s.bye != nil {
					t.Errorf("lost connection: Closed(%v, %v)", s.cause, s.bye)
				}
			})
		})
	}
}

func TestClosedAfterDisconnect(t *testing.T) {
	bubble(t, nil, nil, func(w *world) {
		p := w.client(&mqtt.Connect{ClientID: "c"})
		s := w.router.last()
		props := mqtt.Properties(nil).AppendUser("k", "v")
		p.send(&mqtt.Disconnect{Reason: mqtt.ReasonDisconnectWithWill, Properties: props})
		<-s.done
		if s.cause != nil || s.bye == nil || s.bye.Reason != mqtt.ReasonDisconnectWithWill || len(s.bye.Properties) == 0 {
			t.Errorf("Closed(%v, %v)", s.cause, s.bye)
		}
	})
}

// TestTrickle sends a conversation byte by byte.
func TestTrickle(t *testing.T) {
	bubble(t, nil, nil, func(w *world) {
		p := w.dial()
		var b []byte
		for _, pk := range []mqtt.Packet{
			&mqtt.Connect{Version: mqtt.Version5, ClientID: "slow", CleanStart: true},
			&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "t", QoS: 1}}},
			publishTo("t", strings.Repeat("x", 200), 1, 9),
		} {
			b, _ = mqtt.Append(b, pk, mqtt.Version5)
		}
		for i := range b {
			p.write(b[i : i+1])
			synctest.Wait()
		}
		if ack, ok := p.recv().(*mqtt.Connack); !ok || ack.Reason != 0 {
			t.Fatal("not accepted")
		}
		p.expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{1}}, publishTo("t", strings.Repeat("x", 200), 1, 1), &mqtt.Puback{ID: 9})
	})
}

// TestPipelined sends everything before the CONNACK comes.
func TestPipelined(t *testing.T) {
	bubble(t, nil, nil, func(w *world) {
		p := w.dial()
		p.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "c", CleanStart: true},
			&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "t"}}}, publishTo("t", "x", 0, 0))
		p.recv()
		p.expect(&mqtt.Suback{ID: 1, Reasons: []mqtt.ReasonCode{0}}, publishTo("t", "x", 0, 0))
	})
}

// TestLargePackets sends packets around the sizes where their way changes, in pieces of several sizes.
func TestLargePackets(t *testing.T) {
	for _, piece := range []int{1 << 20, 10_007, 64 << 10} {
		t.Run(fmt.Sprint(piece), func(t *testing.T) {
			o := &mqttserver.Options{Limits: mqttserver.Limits{HardLimit: -1}}
			bubble(t, nil, o, func(w *world) {
				p := w.client(&mqtt.Connect{ClientID: "c"})
				p.subscribe("big", 0)
				for _, n := range []int{4095, 4097, 65_520, 65_530, 65_536, 100_000, 131_072, 1<<20 - 32} {
					m := publishTo("big", strings.Repeat("0123456789abcdef", n/16+1)[:n], 0, 0)
					b, _ := mqtt.Append(nil, m, mqtt.Version5)
					b, _ = mqtt.Append(b, publishTo("big", "after", 0, 0), mqtt.Version5)
					go func() {
						for len(b) > 0 {
							k := min(piece, len(b))
							p.nc.Write(b[:k])
							b = b[k:]
						}
					}()
					got := p.recv().(*mqtt.Publish)
					if string(got.Payload) != string(m.Payload) {
						t.Fatalf("payload of %d bytes came back as another one of %d", n, len(got.Payload))
					}
					p.expect(publishTo("big", "after", 0, 0))
				}
			})
		})
	}
}

func TestTakeover(t *testing.T) {
	bubble(t, nil, nil, func(w *world) {
		p := w.client(&mqtt.Connect{ClientID: "c"})
		old := w.router.last()
		old.c.Disconnect(nil, &mqtt.Disconnect{Reason: mqtt.ReasonSessionTakenOver})
		<-old.done
		if e, ok := errors.AsType[*mqtt.Error](old.cause); !ok || e.Code != mqtt.ReasonSessionTakenOver {
			t.Errorf("cause is %v", old.cause)
		}
		p.expectDisconnect(mqtt.ReasonSessionTakenOver)
		if r := old.c.Publish(nil, publishTo("t", "x", 0, 0), nil); r != mqttserver.Closed {
			t.Errorf("Publish after the end: %v", r)
		}
	})
}

// TestTakeoverOfStalledClient: Session.Closed does not wait for a client that takes nothing.
func TestTakeoverOfStalledClient(t *testing.T) {
	bubble(t, nil, nil, func(w *world) {
		w.client(&mqtt.Connect{ClientID: "c"})
		s := w.router.last()
		for range 100 {
			s.c.Publish(nil, publishTo("t", strings.Repeat("x", 4000), 0, 0), nil)
		}
		begin := time.Now()
		s.c.Disconnect(nil, &mqtt.Disconnect{Reason: mqtt.ReasonSessionTakenOver})
		<-s.done
		if d := time.Since(begin); d > 0 {
			t.Errorf("Closed was called after %v", d)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	t.Run("MQTT-3.1.2-22", testKeepAlive)
}

func testKeepAlive(t *testing.T) {
	bubble(t, nil, nil, func(w *world) {
		p := w.client(&mqtt.Connect{ClientID: "c", KeepAlive: 10})
		begin := time.Now()
		for range 3 {
			time.Sleep(12 * time.Second)
			p.send(&mqtt.Pingreq{})
			p.expect(&mqtt.Pingresp{})
		}
		p.expectDisconnect(mqtt.ReasonKeepAliveTimeout)
		if d := time.Since(begin); d != 51*time.Second {
			t.Errorf("closed after %v", d)
		}
	})
}

func TestConnectTimeout(t *testing.T) {
	bubble(t, nil, nil, func(w *world) {
		p := w.dial()
		p.write([]byte{0x10, 20})
		begin := time.Now()
		p.expectEnd()
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("closed after %v", d)
		}
	})
}

// TestConnectContext: the backend's context ends with the connect timeout, and an error of its own is not told.
func TestConnectContext(t *testing.T) {
	r := &router{connect: func(ctx context.Context, c *mqttserver.Conn) (*mqttserver.Accepted, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	bubble(t, r, nil, func(w *world) {
		p := w.dial()
		p.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "c", CleanStart: true})
		p.expect(&mqtt.Connack{Reason: mqtt.ReasonUnspecifiedError})
		p.expectEnd()
	})
}

func TestRefusals(t *testing.T) {
	errs := map[string]struct {
		err  error
		v    mqtt.Version
		want mqtt.Connack
	}{
		"code":     {&mqtt.Error{Code: mqtt.ReasonBanned}, mqtt.Version5, mqtt.Connack{Reason: mqtt.ReasonBanned}},
		"reason":   {&mqtt.Error{Code: mqtt.ReasonNotAuthorized, Reason: "no"}, mqtt.Version5, mqtt.Connack{Reason: mqtt.ReasonNotAuthorized, Properties: mqtt.Properties(nil).AppendString(mqtt.PropReasonString, "no")}},
		"wrapped":  {fmt.Errorf("x: %w", &mqtt.Error{Code: mqtt.ReasonBadUserNameOrPassword}), mqtt.Version5, mqtt.Connack{Reason: mqtt.ReasonBadUserNameOrPassword}},
		"other":    {errors.New("database password is hunter2"), mqtt.Version5, mqtt.Connack{Reason: mqtt.ReasonUnspecifiedError}},
		"no such":  {&mqtt.Error{Code: mqtt.ReasonTopicFilterInvalid}, mqtt.Version5, mqtt.Connack{Reason: mqtt.ReasonUnspecifiedError}},
		"3.1.1":    {&mqtt.Error{Code: mqtt.ReasonNotAuthorized, Reason: "no"}, mqtt.Version311, mqtt.Connack{Reason: mqtt.ReasonNotAuthorized}},
		"3.1 busy": {&mqtt.Error{Code: mqtt.ReasonServerBusy}, mqtt.Version31, mqtt.Connack{Reason: mqtt.ReasonServerUnavailable}},
	}
	for name, tt := range errs {
		t.Run(name, func(t *testing.T) {
			r := &router{connect: func(context.Context, *mqttserver.Conn) (*mqttserver.Accepted, error) { return nil, tt.err }}
			bubble(t, r, nil, func(w *world) {
				p := w.dial()
				p.v = tt.v
				p.send(&mqtt.Connect{Version: tt.v, ClientID: "c", CleanStart: true})
				p.expect(&tt.want)
				p.expectEnd()
			})
		})
	}
}

func TestAssignedClientID(t *testing.T) {
	bubble(t, nil, nil, func(w *world) {
		p := w.dial()
		ack := p.connect(&mqtt.Connect{})
		if id, _ := ack.Properties.String(mqtt.PropAssignedClientIdentifier); id != "assigned" || w.router.last().c.ClientID() != id {
			t.Errorf("assigned %q", id)
		}
	})
}

func TestShutdown(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    mqttserver.Options
		want mqtt.ReasonCode
	}{
		{"", mqttserver.Options{}, mqtt.ReasonServerShuttingDown},
		{"reference", mqttserver.Options{ServerReference: "b:1883"}, mqtt.ReasonUseAnotherServer},
		{"moved", mqttserver.Options{ServerReference: "b:1883", ServerMoved: true}, mqtt.ReasonServerMoved},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, &tt.o, func(w *world) {
				five := w.client(&mqtt.Connect{ClientID: "5"})
				three := w.client(&mqtt.Connect{ClientID: "3", Version: mqtt.Version311})
				done := make(chan error)
				go func() { done <- w.srv.Shutdown(context.Background()) }()
				d := five.recv().(*mqtt.Disconnect)
				if ref, _ := d.Properties.String(mqtt.PropServerReference); d.Reason != tt.want || ref != tt.o.ServerReference {
					t.Errorf("got %v", d)
				}
				five.nc.Close()
				three.expectEnd()
				three.nc.Close()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if w.router.closed != 2 {
					t.Errorf("%d sessions were closed", w.router.closed)
				}
			})
		})
	}
}

// TestShutdownUndecided: connections without CONNACK do not hold Shutdown, and none is accepted any more.
func TestShutdownUndecided(t *testing.T) {
	var entered chan struct{}
	r := new(router)
	r.connect = func(ctx context.Context, c *mqttserver.Conn) (*mqttserver.Accepted, error) {
		close(entered)
		time.Sleep(time.Second)
		return r.accept(c), nil
	}
	synctest.Test(t, func(t *testing.T) {
		entered = make(chan struct{})
		srv := mqttserver.New(r, nil)
		l := memnet.Listen("mem")
		go srv.Serve(l, nil)
		w := &world{t: t, srv: srv, router: r, l: l}
		silent, asking := w.dial(), w.dial()
		asking.send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "c", CleanStart: true})
		<-entered
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		silent.expectEnd()
		asking.expectEnd()
		if r.closed != 1 {
			t.Errorf("%d sessions were closed", r.closed)
		}
	})
}

// TestShutdownStalled: a client that reads nothing holds Shutdown until the context ends.
func TestShutdownStalled(t *testing.T) {
	bubble(t, nil, nil, func(w *world) {
		w.client(&mqtt.Connect{ClientID: "c"})
		s := w.router.last()
		for range 100 {
			s.c.Publish(nil, publishTo("t", strings.Repeat("x", 4000), 0, 0), nil)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		if err := w.srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestStats(t *testing.T) {
	bubble(t, nil, nil, func(w *world) {
		p := w.client(&mqtt.Connect{ClientID: "c"})
		p.subscribe("t", 0)
		p.send(publishTo("t", "x", 0, 0))
		p.recv()
		synctest.Wait()
		st := w.srv.Stats()
		if st.Connections != 1 || st.Accepted != 1 || st.PacketsReceived != 3 || st.PacketsSent != 3 || st.MessagesReceived != 1 || st.MessagesSent != 1 || st.BytesSent == 0 || st.BytesReceived == 0 {
			t.Errorf("%+v", st)
		}
		p.nc.Close()
		synctest.Wait()
		after := w.srv.Stats()
		st.Connections = 0
		if after != st {
			t.Errorf("after the end %+v, before %+v", after, st)
		}
	})
}
