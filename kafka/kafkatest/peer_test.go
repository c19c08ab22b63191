package kafkatest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkaclient"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// failing is a TB that keeps the message of Fatal.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Helper() {}

func (f *failing) Cleanup(func()) {}

func (f *failing) Fatal(args ...any) {
	f.message = fmt.Sprint(args...)
	runtime.Goexit()
}

func (f *failing) Fatalf(format string, args ...any) { f.Fatal(fmt.Sprintf(format, args...)) }

func (f *failing) Errorf(format string, args ...any) { f.message = fmt.Sprintf(format, args...) }

// failure returns the message with which do fails a test.
func failure(t *testing.T, do func(tb testing.TB)) string {
	t.Helper()
	f := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(f)
	}()
	<-done
	return f.message
}

func TestPeersConverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := memnet.Pipe()
		client, broker := kafkatest.NewPeer(t, c), kafkatest.NewPeer(t, s)
		client.Send(&kafkawire.APIVersionsRequest{ClientSoftwareName: "x", ClientSoftwareVersion: "1"}, 3)
		broker.Versions(map[kafkawire.APIKey]int16{kafkawire.KeyFetch: 11, kafkawire.KeyOffsetDelete: -1})
		for _, k := range client.Response().(*kafkawire.APIVersionsResponse).APIKeys {
			switch kafkawire.APIKey(k.APIKey) {
			case kafkawire.KeyFetch:
				if k.MaxVersion != 11 {
					t.Errorf("%+v", k)
				}
			case kafkawire.KeyOffsetDelete:
				t.Error("a request that is not there")
			}
		}
		beat := &kafkawire.HeartbeatRequest{GroupID: "g", GenerationID: 2, MemberID: "m"}
		client.Send(beat, 4)
		client.Send(beat, 3)
		r := broker.Expect(beat)
		if r.Header.Version != 4 || string(r.Header.ClientID) != "peer" {
			t.Errorf("%+v", r.Header)
		}
		client.ExpectSilence(time.Minute)
		broker.Answer(r, &kafkawire.HeartbeatResponse{ErrorCode: kafkawire.ErrIllegalGeneration})
		client.ExpectResponse(&kafkawire.HeartbeatResponse{ErrorCode: kafkawire.ErrIllegalGeneration})
		broker.AnswerBytes(broker.Receive(kafkawire.KeyHeartbeat), 0, 0, 0, 0, 0, 0)
		client.ExpectResponse(&kafkawire.HeartbeatResponse{})
		go func() { broker.Answer(broker.Next(), &kafkawire.HeartbeatResponse{}) }()
		client.Call(beat, 4)
		broker.Close()
		client.ExpectClose()
	})
}

// TestPeersFail shows what a test is told whose other end does something else.
func TestPeersFail(t *testing.T) {
	beat := &kafkawire.HeartbeatRequest{GroupID: "g", MemberID: "m"}
	for _, tt := range []struct {
		name string
		do   func(client, broker *kafkatest.Peer)
		want []string
	}{
		{"another request", func(client, broker *kafkatest.Peer) {
			client.Send(beat, 4)
			broker.Receive(kafkawire.KeyFetch)
		}, []string{`got Heartbeat/4 GroupID="g" MemberID="m", want Fetch`}},
		{"another field", func(client, broker *kafkatest.Peer) {
			client.Send(beat, 4)
			broker.Expect(&kafkawire.HeartbeatRequest{GroupID: "h", MemberID: "m"})
		}, []string{`got  Heartbeat/4 GroupID="g"`, `want Heartbeat/4 GroupID="h"`, "the last frames:"}},
		{"another key", func(client, broker *kafkatest.Peer) {
			client.Send(beat, 4)
			broker.Expect(&kafkawire.MetadataRequest{})
		}, []string{"got  Heartbeat/4", "want Metadata/4"}},
		{"another response", func(client, broker *kafkatest.Peer) {
			client.Send(beat, 4)
			broker.Answer(broker.Next(), &kafkawire.HeartbeatResponse{})
			client.ExpectResponse(&kafkawire.HeartbeatResponse{ErrorCode: kafkawire.ErrUnknownMemberID})
		}, []string{"want Heartbeat/4 ErrorCode=UNKNOWN_MEMBER_ID"}},
		{"another number", func(client, broker *kafkatest.Peer) {
			client.Send(beat, 4)
			r := broker.Next()
			r.Header.CorrelationID = 77
			broker.Answer(r, &kafkawire.HeartbeatResponse{})
			client.Response()
		}, []string{"correlation id 77, want 1"}},
		{"nonsense", func(client, broker *kafkatest.Peer) {
			client.SendBytes(0, 0, 0, 2, 9, 9)
			broker.Next()
		}, []string{"cannot decode what came"}},
		{"a size", func(client, broker *kafkatest.Peer) {
			client.SendBytes(0xff, 0, 0, 2, 9, 9)
			broker.Next()
		}, []string{"illegal size"}},
		{"an end", func(client, broker *kafkatest.Peer) {
			client.SendBytes(0, 0, 0, 9, 9)
			client.Close()
			broker.Next()
		}, []string{"ended within a frame"}},
		{"nothing", func(_, broker *kafkatest.Peer) { broker.Next() }, []string{"want a request"}},
		{"something", func(client, broker *kafkatest.Peer) {
			client.Send(beat, 4)
			broker.ExpectSilence(time.Second)
		}, []string{"got Heartbeat/4", "want nothing for 1s"}},
		{"no end", func(_, broker *kafkatest.Peer) { broker.ExpectClose() }, []string{"want the connection to be closed"}},
		{"a version", func(client, _ *kafkatest.Peer) {
			client.Send(&kafkawire.HeartbeatRequest{GroupInstanceID: new("x")}, 0)
		}, []string{"cannot send Heartbeat/0", "GroupInstanceID"}},
		{"no request", func(client, _ *kafkatest.Peer) { client.Response() }, []string{"no request waits"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := memnet.Pipe()
				defer c.Close()
				message := failure(t, func(tb testing.TB) { tt.do(kafkatest.NewPeer(tb, c), kafkatest.NewPeer(tb, s)) })
				for _, want := range tt.want {
					if !strings.Contains(message, want) {
						t.Errorf("the message lacks %q:\n%s", want, message)
					}
				}
			})
		})
	}
}

// TestPeerBroker plays a broker for a client: it misbehaves once, and the client tries again.
func TestPeerBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.NewPeerBroker(t)
		b.ExpectNone(time.Hour)
		c, err := kafkaclient.New(&kafkaclient.Options{Addrs: b.Addrs(), Dial: b.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got := make(chan error, 1)
		go func() {
			_, err := c.Admin().Cluster(context.Background())
			got <- err
		}()
		first := b.Accept()
		first.Versions(nil)
		first.Next()
		first.Close()
		second := b.Accept()
		second.Versions(nil)
		second.Receive(kafkawire.KeyMetadata)
		c.Close()
		if err := <-got; !errors.Is(err, net.ErrClosed) && !errors.Is(err, kafkaclient.ErrClosed) {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		message := failure(t, func(tb testing.TB) { kafkatest.NewPeerBroker(tee{tb, t}).Accept() })
		if message != "no connection within 5s" {
			t.Errorf("%q", message)
		}
	})
}

// tee is a TB whose cleanups are those of another.
type tee struct {
	testing.TB
	cleanups testing.TB
}

func (t tee) Cleanup(f func()) { t.cleanups.Cleanup(f) }
