package mqttserver_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// board is a backend of one's own: every client sees everything that is published, and nobody needs to subscribe.
type board struct {
	mu    sync.Mutex
	users map[*user]bool
}

// Connect lets everybody in who knows the password.
func (b *board) Connect(_ context.Context, c *mqttserver.Conn) (*mqttserver.Accepted, error) {
	if string(c.Connect().Password) != "swordfish" {
		return nil, &mqtt.Error{Code: mqtt.ReasonBadUserNameOrPassword}
	}
	return &mqttserver.Accepted{Session: &user{b, c}, State: new(mqtt.State), ClientID: "guest"}, nil
}

// user is a connection to the board.
type user struct {
	board *board
	conn  *mqttserver.Conn
}

func (u *user) Start(*mqttserver.Batch) {
	u.board.mu.Lock()
	defer u.board.mu.Unlock()
	u.board.users[u] = true
}

func (u *user) Publish(batch *mqttserver.Batch, p *mqtt.Publish, ack mqttserver.Ack) {
	m := &mqtt.Publish{Topic: p.Topic, Payload: p.Payload} // QoS 0: p is copied by Conn.Publish
	if len(p.Payload) > mqttserver.LargePayload {
		m.Payload = bytes.Clone(p.Payload) // unless it is large
	}
	u.board.mu.Lock()
	for other := range u.board.users {
		other.conn.Publish(batch, m, nil)
	}
	u.board.mu.Unlock()
	ack.Done(batch, mqtt.ReasonSuccess, nil)
}

func (u *user) Subscribe(batch *mqttserver.Batch, p *mqtt.Subscribe) {
	reasons := make([]mqtt.ReasonCode, len(p.Filters)) // QoS 0 granted
	u.conn.Suback(batch, &mqtt.Suback{ID: p.ID, Reasons: reasons})
}

func (u *user) Unsubscribe(batch *mqttserver.Batch, p *mqtt.Unsubscribe) {
	u.conn.Unsuback(batch, &mqtt.Unsuback{ID: p.ID, Reasons: make([]mqtt.ReasonCode, len(p.Filters))})
}

func (u *user) Closed(error, *mqtt.Disconnect) {
	u.board.mu.Lock()
	defer u.board.mu.Unlock()
	delete(u.board.users, u)
}

// Nothing is sent at QoS 1 or 2, so there is nothing to settle, to send again or to go on with.

func (u *user) Settled(*mqttserver.Batch, any, mqtt.ReasonCode) {}
func (u *user) Resend(any) (*mqtt.Publish, bool)                { return nil, false }
func (u *user) Ready(*mqttserver.Batch)                         {}

func ExampleServer() {
	server := mqttserver.New(&board{users: make(map[*user]bool)}, &mqttserver.Options{
		Limits: mqttserver.Limits{MaxPacketSize: 64 << 10, PublishRate: 100},
	})
	listener := memnet.Listen("board") // or net.Listen("tcp", ":1883")
	go server.Serve(listener, nil)

	conn, err := listener.Dial(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	talk(conn, &mqtt.Connect{Version: mqtt.Version5, CleanStart: true, HasPassword: true, Password: []byte("swordfish")},
		&mqtt.Publish{Topic: []byte("hello"), Payload: []byte("world")})
	conn.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(server.Shutdown(ctx))
	// Output:
	// PUBLISH qos=0 topic="hello" payload=5:"world"
	// <nil>
}

// talk sends packets and prints the first message that comes back.
func talk(conn net.Conn, packets ...mqtt.Packet) {
	var out []byte
	for _, p := range packets {
		out, _ = mqtt.Append(out, p, mqtt.Version5)
	}
	conn.Write(out)
	var d mqtt.Decoder
	in := make([]byte, 0, 4096)
	for {
		n, err := conn.Read(in[len(in):cap(in)])
		if err != nil {
			return
		}
		in = in[:len(in)+n]
		for {
			p, n, err := d.Decode(in, mqtt.Version5)
			if n == 0 || err != nil {
				break
			}
			in = in[n:]
			if p.Type() == mqtt.TypePublish {
				fmt.Println(p)
				return
			}
		}
	}
}
