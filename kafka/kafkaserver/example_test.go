package kafkaserver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// clock is a backend of one's own: a cluster of one broker without topics, for whoever knows the password.
type clock struct{}

// APIs says that the backend takes Metadata only.
func (clock) APIs() *kafkaserver.APIs {
	return &kafkaserver.APIs{Versions: []kafkaserver.APIVersion{{Key: kafkawire.KeyMetadata, Min: 0, Max: 9}}, NodeID: 1}
}

// Authenticate lets everybody in who knows the password.
func (clock) Authenticate(_ context.Context, _ *kafkaserver.Conn, a *kafkaserver.Auth) (kafkaserver.Login, error) {
	if a.Mechanism != "PLAIN" || a.Password != "swordfish" {
		return kafkaserver.Login{}, errors.New("wrong password")
	}
	return kafkaserver.Login{}, nil
}

// Connect begins a session.
func (clock) Connect(c *kafkaserver.Conn) (kafkaserver.Session, error) {
	fmt.Println(c.Principal(), "is there")
	return visit{}, nil
}

// visit is a connection.
type visit struct{}

// Handle answers Metadata.
func (visit) Handle(r *kafkaserver.Request) {
	var q kafkawire.MetadataRequest
	if err := r.Decode(&q); err != nil {
		r.Fail(err)
		return
	}
	host, port := r.Conn.Advertised()
	var m kafkawire.MetadataResponse
	m.Reset()
	m.Brokers = []kafkawire.MetadataResponseBroker{{NodeID: 1, Host: host, Port: port}}
	m.ControllerID = 1
	r.Reply(&m)
}

// Closed is the end.
func (visit) Closed(error) {}

// This example serves a backend of one's own. A program listens with net.Listen and uses a client; here both ends are in
// memory, and the client is written by hand.
func Example() {
	l := memnet.Listen("192.0.2.1:9092")
	s := kafkaserver.New(clock{}, &kafkaserver.Options{Advertise: "clock.example:9092"})
	defer s.Close()
	go s.Serve(l, nil)

	nc, err := l.Dial(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	call := func(version int16, q kafkawire.Request) kafkawire.Response {
		b, err := kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: version}, q)
		if err != nil {
			panic(err)
		}
		nc.Write(b)
		var size [4]byte
		io.ReadFull(nc, size[:])
		b = make([]byte, binary.BigEndian.Uint32(size[:]))
		io.ReadFull(nc, b)
		_, body, err := kafkawire.DecodeResponseHeader(b, q.Key(), version)
		r := q.NewResponse()
		if err := errors.Join(err, r.Decode(body, version)); err != nil {
			panic(err)
		}
		return r
	}
	call(1, &kafkawire.SASLHandshakeRequest{Mechanism: "PLAIN"})
	call(0, &kafkawire.SASLAuthenticateRequest{AuthBytes: []byte("\x00bob\x00swordfish")})
	m := call(1, &kafkawire.MetadataRequest{AllowAutoTopicCreation: true}).(*kafkawire.MetadataResponse)
	fmt.Println(m.Brokers[0].Host, m.Brokers[0].Port)

	// Output:
	// User:bob is there
	// clock.example 9092
}
