package kafkatest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// slowBackend is a broker whose sessions take a second for a request.
type slowBackend struct {
	kafkaserver.Backend
	t *testing.T
}

func (b *slowBackend) Connect(c *kafkaserver.Conn) (kafkaserver.Session, error) {
	s, err := b.Backend.Connect(c)
	return &slowSession{Session: s, t: b.t}, err
}

type slowSession struct {
	kafkaserver.Session
	t    *testing.T
	busy bool
}

func (s *slowSession) Handle(r *kafkaserver.Request) {
	s.busy = true
	<-time.After(time.Second)
	s.busy = false
	s.Session.Handle(r)
}

func (s *slowSession) Closed(cause error) {
	if s.busy {
		s.t.Error("closed within a request")
	}
	s.Session.Closed(cause)
}

// TestDelayedRequestOfClosed: a session does not end while the broker has a request of it that was delayed.
func TestDelayedRequestOfClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, err := kafkabroker.Open(&kafkabroker.Options{Authenticate: kafkabroker.AllowAll})
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		f := new(Faults)
		f.Add(Rule{Keys: []kafkawire.APIKey{kafkawire.KeyMetadata}, Do: Delay(time.Second)})
		s := kafkaserver.New(f.backend(1, &slowBackend{broker, t}), nil)
		defer s.Close()
		near, far := memnet.Pipe()
		s.ServeConn(far, nil)
		p := NewPeer(t, near)
		p.Send(&kafkawire.MetadataRequest{}, 12)
		<-time.After(1500 * time.Millisecond)
		p.Close()
		<-time.After(time.Second)
	})
}
