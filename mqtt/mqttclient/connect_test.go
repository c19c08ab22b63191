package mqttclient

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
)

// backoffs returns the waits of a client that nobody accepts.
func backoffs(t *testing.T, b Backoff, rounds int) []time.Duration {
	var mu sync.Mutex
	var ds []time.Duration
	n := newNetwork(t, "a")
	n.hosts["a"].OnDial(func(int) (*memnet.Options, error) { return nil, errors.New("refused") })
	c := n.client(&Options{Backoff: b, Trace: &Trace{Backoff: func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		ds = append(ds, d)
	}}}, "a")
	for range rounds {
		time.Sleep(b.Max)
	}
	c.Close()
	synctest.Wait()
	return ds
}

func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := Backoff{Min: time.Second, Max: 16 * time.Second, Seed: 7}
		ds := backoffs(t, b, 20)
		if len(ds) < 20 {
			t.Fatalf("%d attempts in 20 times the longest backoff", len(ds))
		}
		long := false
		for i, d := range ds {
			bound := min(b.Min<<min(i, 10), b.Max)
			if d < 0 || d > bound {
				t.Errorf("wait %d is %v, bound %v", i, d, bound)
			}
			long = long || d > b.Max/2
		}
		if !long {
			t.Errorf("no wait is longer than %v: %v", b.Max/2, ds)
		}
		again := backoffs(t, b, 20)
		for i, d := range again {
			if d != ds[i] {
				t.Errorf("with the same seed wait %d is %v, then %v", i, ds[i], d)
			}
		}
	})
}

// TestReconnect: connections are made again; the servers are tried in turn.
func TestReconnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a", "b")
		var mu sync.Mutex
		var log []string
		note := func(s string) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, s)
		}
		c := n.client(&Options{Trace: &Trace{
			Dial:         func(u *url.URL, _ mqtt.Version) { note("dial " + u.Host) },
			Connected:    func(i Info) { note("connected " + i.Server.Host) },
			Disconnected: func(err error) { note("disconnected") },
			Failed:       func(u *url.URL, err error) { note("failed " + u.Host) },
		}}, "nowhere", "a", "b")
		p := n.connect("a", mqtt.Connack{})
		if err := c.Connected(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.hosts["a"].Close()
		p.nc.Close()
		n.connect("b", mqtt.Connack{})
		synctest.Wait()
		if i, ok := c.Info(); !ok || i.Server.Host != "b" || i.Version != mqtt.Version5 || i.ClientID != "c" {
			t.Errorf("info is %+v, %v", i, ok)
		}
		want := "dial nowhere,failed nowhere,dial a,connected a,disconnected,dial a,failed a,dial b,connected b"
		if got := strings.Join(log, ","); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if s := c.Stats(); s.Connects != 2 {
			t.Errorf("stats are %+v", s)
		}
	})
}

// TestFallback: a server that refuses version 5 is spoken to in 3.1.1.
func TestFallback(t *testing.T) {
	refusals := map[string]func(p *peer){
		"CONNACK 0x84":       func(p *peer) { p.send(&mqtt.Connack{Reason: mqtt.ReasonUnsupportedProtocolVersion}) },
		"return code 1":      func(p *peer) { p.nc.Write([]byte{0x20, 2, 0, 1}) },
		"return code 1 in 5": func(p *peer) { p.nc.Write([]byte{0x20, 3, 0, 1, 0}) },
		"accepts as 3.1.1":   func(p *peer) { p.nc.Write([]byte{0x20, 2, 0, 0}) },
		"closes":             func(p *peer) {},
		"resets":             func(p *peer) { p.nc.(*memnet.Conn).Abort() },
		"closes on malform.": func(p *peer) { p.nc.(*memnet.Conn).CloseWrite() },
	}
	for name, refuse := range refusals {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				c := n.client(nil, "a")
				p := n.accept("a")
				if k := p.connect(); k.Version != mqtt.Version5 {
					t.Fatalf("first attempt is %v", k.Version)
				}
				refuse(p)
				p.nc.Close()
				p = n.accept("a")
				if k := p.connect(); k.Version != mqtt.Version311 || k.CleanStart {
					t.Fatalf("second attempt is %v, clean %v", k.Version, k.CleanStart)
				}
				p.send(&mqtt.Connack{})
				if err := c.Connected(t.Context()); err != nil {
					t.Fatal(err)
				}
				p.nc.Close()
				p = n.accept("a")
				if k := p.connect(); k.Version != mqtt.Version311 {
					t.Errorf("reconnects with %v", k.Version)
				}
			})
		})
	}
	t.Run("pinned", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(&Options{Version: mqtt.Version5}, "a")
			p := n.connect("a", mqtt.Connack{Reason: mqtt.ReasonUnsupportedProtocolVersion})
			p.expect("end")
			<-c.Done()
			if err := c.Err(); !errors.Is(err, &mqtt.Error{Code: mqtt.ReasonUnsupportedProtocolVersion}) ||
				!errors.Is(err, ErrClosed) || !errors.Is(err, net.ErrClosed) {
				t.Errorf("gave up with %v", err)
			}
		})
	})
}

func TestDialFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		_, err := Dial(t.Context(), "mem://nowhere", n.options(nil))
		if _, ok := errors.AsType[*net.OpError](err); !ok {
			t.Errorf("no host: %v", err)
		}
		wait := async(func() error {
			_, err := Dial(t.Context(), "mem://a", n.options(nil))
			return err
		})
		n.connect("a", mqtt.Connack{Reason: mqtt.ReasonNotAuthorized})
		if err := wait(); !errors.Is(err, &mqtt.Error{Code: mqtt.ReasonNotAuthorized}) {
			t.Errorf("not authorized: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		wait = async(func() error {
			_, err := Dial(ctx, "mem://a", n.options(nil))
			return err
		})
		n.accept("a").connect()
		cancel()
		if err := wait(); err != context.Canceled {
			t.Errorf("canceled: %v", err)
		}
		start := time.Now()
		if _, err := Dial(t.Context(), "mem://a", n.options(nil)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("silent server: %v", err)
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("silent server: failed after %v", d)
		}
	})
}

// choked is a net.Conn that gives one byte, and takes nothing from then on.
type choked struct {
	net.Conn
	once sync.Once
	came chan struct{}
}

func (c *choked) Read(b []byte) (n int, err error) {
	c.once.Do(func() {
		close(c.came)
		b[0], n = byte(mqtt.TypeConnack)<<4, 1
	})
	if n == 0 {
		return c.Conn.Read(b)
	}
	return n, nil
}

func (c *choked) Write([]byte) (int, error) {
	<-c.came
	return 0, io.ErrClosedPipe
}

// TestWriteFails: what is written fails while the answer to CONNECT is read.
func TestWriteFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		o := n.options(nil, "a")
		o.Dialers["mem"] = func(ctx context.Context, u *url.URL) (net.Conn, error) {
			nc, err := n.dial(ctx, u)
			return &choked{Conn: nc, came: make(chan struct{})}, err
		}
		for range 50 {
			if _, err := Dial(t.Context(), "mem://a", o); !errors.Is(err, io.ErrClosedPipe) {
				t.Fatal(err)
			}
		}
	})
}

func TestOptionErrors(t *testing.T) {
	for _, o := range []*Options{
		nil,
		{Servers: []string{"mqtt://"}},
		{Servers: []string{"http://localhost"}},
		{Servers: []string{"%"}},
		{Servers: []string{"unix:"}},
		{Servers: []string{"mqtt://localhost"}, Version: 6},
		{Servers: []string{"mqtt://localhost"}, Version: 4, Auth: new(scripted)},
		{Servers: []string{"mqtt://localhost"}, Will: &mqtt.Will{Topic: "a/#"}},
		{Servers: []string{"mqtt://localhost"}, ConnectProperties: mqtt.Properties{0x77, 1}},
	} {
		if c, err := New(o); err == nil {
			c.Close()
			t.Errorf("%+v: no error", o)
		}
	}
}

// TestNegativeOptions: they are off, or the least that works.
func TestNegativeOptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		c := n.client(&Options{
			SessionExpiry: -1, KeepAlive: -1, ConnectTimeout: -1, Backoff: Backoff{Min: -1, Max: -1},
			Limits: Limits{MaxInflight: -1, TopicAliases: -1, OutputBuffer: -1},
			Queue:  Queue{Bytes: -1},
		}, "a")
		p := n.accept("a")
		if k := p.connect(); k.KeepAlive != 0 || k.Properties.Has(mqtt.PropSessionExpiryInterval) || k.Properties.Has(mqtt.PropTopicAliasMaximum) {
			if v, _ := k.Properties.Uint16(mqtt.PropTopicAliasMaximum); v != 0 {
				t.Errorf("got %v", k)
			}
		}
		time.Sleep(time.Hour)
		p.send(&mqtt.Connack{})
		for range 3 {
			q, err := c.PublishAsync(t.Context(), &Message{Topic: "t", QoS: 1})
			if err != nil {
				t.Fatal(err)
			}
			p.send(&mqtt.Puback{ID: p.receive().(*mqtt.Publish).ID})
			if err := q.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		now := time.Now()
		p.nc.Close()
		n.accept("a").connect()
		if d := time.Since(now); d != 0 {
			t.Errorf("waited %v", d)
		}
	})
}

// TestConnectPacket looks at what CONNECT says.
func TestConnectPacket(t *testing.T) {
	o := &Options{
		ClientID: "me", Username: "u", Password: []byte("p"), KeepAlive: 90 * time.Second, SessionExpiry: time.Minute,
		Will:   &mqtt.Will{Topic: "w", Payload: []byte("gone"), QoS: 1, Properties: mqtt.Properties{}.AppendUint32(mqtt.PropWillDelayInterval, 5)},
		Limits: Limits{ReceiveMaximum: 7, MaxPacketSize: 1000, TopicAliases: 3},
	}
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		n.client(o, "a")
		p := n.accept("a")
		k := p.connect()
		const want = `CONNECT version=5.0 clean-start keep-alive=90 client-id="me" `
		if !strings.HasPrefix(k.String(), want) {
			t.Errorf("got %v", k)
		}
		for id, want := range map[mqtt.PropertyID]uint32{
			mqtt.PropSessionExpiryInterval: 60, mqtt.PropReceiveMaximum: 7, mqtt.PropMaximumPacketSize: 1000, mqtt.PropTopicAliasMaximum: 3,
		} {
			if q := k.Properties; !q.Has(id) {
				t.Errorf("%v is missing", id)
			} else if v, ok := q.Uint32(id); ok && v != want {
				t.Errorf("%v is %d", id, v)
			} else if v, ok := q.Uint16(id); ok && uint32(v) != want {
				t.Errorf("%v is %d", id, v)
			}
		}
		if k.Username != "u" || string(k.Password) != "p" || k.Will.Topic != "w" || k.Will.QoS != 1 || len(k.Will.Properties) == 0 {
			t.Errorf("got %v", k)
		}
		p.send(&mqtt.Connack{Properties: mqtt.Properties{}.AppendString(mqtt.PropAssignedClientIdentifier, "other")})
		p.nc.Close()
		if k := n.accept("a").connect(); k.CleanStart || k.ClientID != "me" && k.ClientID != "other" {
			t.Errorf("reconnects with %v", k)
		}
	})
	o.Version = mqtt.Version311
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		n.client(o, "a")
		if k := n.accept("a").connect(); k.CleanStart || k.Will == nil || k.Will.Properties != nil {
			t.Errorf("3.1.1: got %v", k)
		}
	})
}

// TestRandomClientID: the client chooses an identifier that every server must accept.
func TestRandomClientID(t *testing.T) {
	t.Run("MQTT-3.1.3-5", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			o := n.options(nil, "a")
			o.ClientID = ""
			c, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			id := n.accept("a").connect().ClientID
			const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			if len(id) == 0 || len(id) > 23 || strings.Trim(id, letters) != "" {
				t.Errorf("client identifier is %q", id)
			}
		})
	})
}

func TestCredentials(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		calls := 0
		n.client(&Options{Username: "ignored", Credentials: func(context.Context, *url.URL) (string, []byte, error) {
			calls++
			return "u", []byte{byte(calls)}, nil
		}}, "a")
		for i := range 3 {
			p := n.accept("a")
			if k := p.connect(); k.Username != "u" || k.Password[0] != byte(i+1) {
				t.Errorf("attempt %d logs in as %q %v", i, k.Username, k.Password)
			}
			p.send(&mqtt.Connack{})
			p.nc.Close()
		}
	})
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		n.client(nil, "joe:secret@a")
		if k := n.accept("a").connect(); k.Username != "joe" || string(k.Password) != "secret" {
			t.Errorf("logs in as %q %q", k.Username, k.Password)
		}
	})
}

// TestUnknownSession: the server resumes a session that the client does not have.
func TestUnknownSession(t *testing.T) {
	t.Run("MQTT-3.2.2-4", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			n.client(&Options{Version: mqtt.Version5}, "a")
			p := n.accept("a")
			if k := p.connect(); !k.CleanStart {
				t.Error("no clean start")
			}
			p.send(&mqtt.Connack{SessionPresent: true})
			p.expect("DISCONNECT reason=0x82", "end")
		})
	})
	t.Run("3.1.1", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(&Options{Version: mqtt.Version311}, "a")
			p := n.connect("a", mqtt.Connack{SessionPresent: true})
			p.expect("end")
			p.nc.Close()
			p = n.accept("a")
			if k := p.connect(); !k.CleanStart {
				t.Error("does not delete the session")
			}
			p.send(&mqtt.Connack{})
			p.expect("DISCONNECT", "end")
			p.nc.Close()
			p = n.accept("a")
			if k := p.connect(); k.CleanStart {
				t.Error("does not begin a session that lasts")
			}
			p.send(&mqtt.Connack{})
			if err := c.Connected(t.Context()); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("Resume", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			c := n.client(&Options{Resume: true, Unrouted: &SubscribeOptions{}}, "a")
			p := n.accept("a")
			if k := p.connect(); k.CleanStart {
				t.Error("clean start")
			}
			p.send(&mqtt.Connack{SessionPresent: true}, message("t", "old", 1, 3))
			if m := next(t, c.Unrouted()); string(m.Payload) != "old" {
				t.Errorf("got %q", m.Payload)
			}
			p.expect("PUBACK id=3")
		})
	})
}

func TestKeepAlive(t *testing.T) {
	both(t, "MQTT-3.1.2-20", "MQTT311-3.1.2-23", func(t *testing.T, v mqtt.Version) {
		n := newNetwork(t, "a")
		c := n.client(&Options{Version: v, KeepAlive: 10 * time.Second}, "a")
		p := n.connect("a", mqtt.Connack{})
		start := time.Now()
		for i := range 5 {
			p.expect("PINGREQ")
			if d := time.Since(start); d > time.Duration(i+1)*10*time.Second || d < time.Duration(i+1)*5*time.Second {
				t.Errorf("ping %d after %v", i, d)
			}
			p.send(&mqtt.Pingresp{})
		}
		c.Close()
		p.expect("DISCONNECT")
	})
	t.Run("MQTT-3.1.2-21 MQTT-3.2.2-21", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			n.client(nil, "a")
			p := n.connect("a", mqtt.Connack{Properties: mqtt.Properties{}.AppendUint16(mqtt.PropServerKeepAlive, 4)})
			start := time.Now()
			p.expect("PINGREQ")
			if d := time.Since(start); d > 4*time.Second {
				t.Errorf("ping after %v", d)
			}
		})
	})
	t.Run("no answer", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			gone := make(chan error, 1)
			n.client(&Options{KeepAlive: 10 * time.Second, Trace: &Trace{Disconnected: func(err error) {
				select {
				case gone <- err:
				default:
				}
			}}}, "a")
			p := n.connect("a", mqtt.Connack{})
			p.expect("PINGREQ")
			start := time.Now()
			if err := <-gone; !errors.Is(err, &mqtt.Error{Code: mqtt.ReasonKeepAliveTimeout}) {
				t.Errorf("lost with %v", err)
			}
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("lost after %v", d)
			}
			n.accept("a").connect()
		})
	})
	t.Run("off", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a")
			n.client(&Options{KeepAlive: -1}, "a")
			p := n.connect("a", mqtt.Connack{})
			time.Sleep(time.Hour)
			p.quiet()
		})
	})
}

// TestServerDisconnect: what the server says is the reason.
func TestServerDisconnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newNetwork(t, "a")
		gone := make(chan error, 1)
		c := n.client(&Options{Trace: &Trace{Disconnected: func(err error) { gone <- err }}}, "a")
		p := n.connect("a", mqtt.Connack{})
		p.send(&mqtt.Disconnect{Reason: mqtt.ReasonServerShuttingDown, Properties: mqtt.Properties{}.AppendString(mqtt.PropReasonString, "bye")})
		p.expect("end")
		p.nc.Close()
		e, ok := errors.AsType[*mqtt.Error](<-gone)
		if !ok || e.Code != mqtt.ReasonServerShuttingDown || e.Reason != "bye" || !e.Remote || !errors.Is(e, net.ErrClosed) {
			t.Errorf("lost with %v", e)
		}
		p = n.connect("a", mqtt.Connack{})
		p.send(&mqtt.Disconnect{Reason: mqtt.ReasonSessionTakenOver})
		p.nc.Close()
		<-c.Done()
		if err := c.Err(); !errors.Is(err, &mqtt.Error{Code: mqtt.ReasonSessionTakenOver}) {
			t.Errorf("gave up with %v", err)
		}
		if err := c.Publish(t.Context(), &Message{Topic: "t"}); !errors.Is(err, ErrClosed) || !SafeToRetry(err) {
			t.Errorf("publish: %v", err)
		}
		<-gone
	})
}

// TestProtocolError: the client answers what the server must not send.
func TestProtocolError(t *testing.T) {
	for name, c := range map[string]struct {
		send []byte
		want string
	}{
		"MQTT-4.13.1-1":           {[]byte{0xF3, 0}, "DISCONNECT reason=0x81"},
		"MQTT-3.3.4-9":            {[]byte{0x32, 6, 0, 1, 't', 0, 1, 0, 0x32, 6, 0, 1, 't', 0, 2, 0}, "DISCONNECT reason=0x93"},
		"MQTT-3.3.2-11":           {[]byte{0x30, 7, 0, 1, 't', 3, 0x23, 0, 5}, "DISCONNECT reason=0x94"},
		"MQTT-3.1.2-24":           {[]byte{0x30, 0x90, 0x4e}, "DISCONNECT reason=0x95"},
		"second CONNACK":          {[]byte{0x20, 3, 0, 0, 0}, "DISCONNECT reason=0x82"},
		"MQTT-4.12.0-6 (no AUTH)": {[]byte{0xF0, 0}, "DISCONNECT reason=0x82"},
		"SUBACK for nobody":       {[]byte{0x90, 4, 0, 1, 0, 0}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				cl := n.client(&Options{Limits: Limits{ReceiveMaximum: 1, TopicAliases: 2, MaxPacketSize: 5000}}, "a")
				p := n.connect("a", mqtt.Connack{})
				subscribe(p, cl, nil, mqtt.Subscription{Filter: "t", QoS: 1})
				p.nc.Write(c.send)
				if c.want == "" {
					p.quiet()
					return
				}
				p.expect(c.want, "end")
			})
		})
	}
}

// TestRedirect follows server references.
func TestRedirect(t *testing.T) {
	reference := func(host string) mqtt.Properties {
		return mqtt.Properties{}.AppendString(mqtt.PropServerReference, host)
	}
	moved := mqtt.Connack{Reason: mqtt.ReasonServerMoved, Properties: reference("b other:1883")}
	another := mqtt.Connack{Reason: mqtt.ReasonUseAnotherServer, Properties: reference("b:1884")}
	t.Run("temporary", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a", "b")
			n.client(&Options{FollowRedirects: true}, "a")
			n.connect("a", another).nc.Close()
			n.connect("b", mqtt.Connack{}).nc.Close()
			n.connect("a", mqtt.Connack{})
		})
	})
	t.Run("permanent", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a", "b")
			n.client(&Options{FollowRedirects: true}, "a")
			n.connect("a", moved).nc.Close()
			n.connect("b", mqtt.Connack{}).nc.Close()
			n.connect("b", mqtt.Connack{})
		})
	})
	t.Run("DISCONNECT", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a", "b")
			n.client(&Options{FollowRedirects: true}, "a")
			p := n.connect("a", mqtt.Connack{})
			p.send(&mqtt.Disconnect{Reason: mqtt.ReasonUseAnotherServer, Properties: reference("b")})
			p.nc.Close()
			n.connect("b", mqtt.Connack{})
		})
	})
	t.Run("in a circle", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a", "b")
			waits := make(chan time.Duration, 100)
			n.client(&Options{FollowRedirects: true, Trace: &Trace{Backoff: func(d time.Duration) { waits <- d }}}, "a")
			back := mqtt.Connack{Reason: mqtt.ReasonUseAnotherServer, Properties: reference("a")}
			for range maxHops/2 + 1 {
				if len(waits) > 0 {
					return
				}
				n.connect("a", another).nc.Close()
				n.connect("b", back).nc.Close()
				synctest.Wait()
			}
			if len(waits) == 0 {
				t.Errorf("does not wait after %d redirects", maxHops)
			}
		})
	})
	t.Run("off", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			n := newNetwork(t, "a", "b")
			n.client(nil, "a")
			n.connect("a", moved).nc.Close()
			n.connect("a", mqtt.Connack{})
		})
	})
}

func TestRedirectURL(t *testing.T) {
	from, _ := url.Parse("mqtts://user:pw@old:8883/path")
	for reference, want := range map[string]string{
		"new":              "mqtts://user:pw@new/path",
		"new:1 newer:2":    "mqtts://user:pw@new:1/path",
		"[2001:db8::1]:99": "mqtts://user:pw@[2001:db8::1]:99/path",
		"2001:db8::1":      "mqtts://user:pw@[2001:db8::1]/path",
		"wss://new/mqtt":   "wss://user:pw@new/mqtt",
		"":                 "",
		"a b c\x00":        "mqtts://user:pw@a/path",
		"\x7f":             "",
	} {
		got := ""
		if u := redirect(from, reference); u != nil {
			got = u.String()
		}
		if got != want {
			t.Errorf("%q leads to %q, want %q", reference, got, want)
		}
	}
}
