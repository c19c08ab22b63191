// Custombroker shows a broker of one's own on Quartet's server: who may connect, where messages go and what is kept are
// up to the backend, and connections, packets, limits and acknowledgements are not.
//
// This one is a chat server. Every client that subscribes to room/NAME gets what others publish to it, one message after
// another, with the number of the message in the room in front. There are no wildcards and no retained messages, and a
// session ends with its connection.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:1883", "`address` to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("chat server on mqtt://%s\n", ln.Addr())
	if err := serve(ctx, ln); err != nil {
		log.Fatal(err)
	}
}

// serve runs the chat server on a listener until ctx ends.
func serve(ctx context.Context, ln net.Listener) error {
	s := mqttserver.New(&chat{rooms: make(map[string]*room)}, &mqttserver.Options{Logger: slog.Default()})
	defer context.AfterFunc(ctx, func() {
		drain, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Shutdown(drain)
	})()
	err := s.Serve(ln, nil)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// chat is the backend.
type chat struct {
	mu    sync.Mutex
	rooms map[string]*room
}

// room is where messages of a topic go.
type room struct {
	mu      sync.Mutex // held over a message to all members, so that everybody sees them in the same order
	said    int
	members map[*guest]mqtt.QoS
}

// Connect lets in everybody who gives a name.
func (c *chat) Connect(_ context.Context, conn *mqttserver.Conn) (*mqttserver.Accepted, error) {
	p := conn.Connect()
	if p.Username == "" {
		return nil, &mqtt.Error{Code: mqtt.ReasonBadUserNameOrPassword, Reason: "log in with your name"}
	}
	g := &guest{chat: c, conn: conn, name: p.Username}
	return &mqttserver.Accepted{Session: g, State: new(mqtt.State), ClientID: "guest-" + p.Username}, nil
}

// room returns a room, nil for a topic that is none.
func (c *chat) room(topic string) *room {
	if !strings.HasPrefix(topic, "room/") || strings.ContainsAny(topic, "+#") {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rooms[topic]
	if r == nil {
		r = &room{members: make(map[*guest]mqtt.QoS)}
		c.rooms[topic] = r
	}
	return r
}

// guest is the session of a client.
type guest struct {
	chat *chat
	conn *mqttserver.Conn
	name string
	in   map[string]*room
}

// Start has nothing to send: no session outlives its connection.
func (g *guest) Start(*mqttserver.Batch) { g.in = make(map[string]*room) }

// Publish passes a message on to the members of its room.
func (g *guest) Publish(b *mqttserver.Batch, p *mqtt.Publish, ack mqttserver.Ack) {
	r := g.chat.room(string(p.Topic))
	if r == nil {
		ack.Done(b, mqtt.ReasonTopicNameInvalid, nil)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said++
	topic := bytes.Clone(p.Topic) // p is ours during this call only
	line := fmt.Appendf(nil, "%d %s: %s", r.said, g.name, p.Payload)
	for member, qos := range r.members {
		out := &mqtt.Publish{Topic: topic, Payload: line, QoS: min(p.QoS, qos)}
		member.conn.Publish(b, out, out) // who reads too slowly misses lines
	}
	ack.Done(b, mqtt.ReasonSuccess, nil)
}

// Subscribe joins rooms.
func (g *guest) Subscribe(b *mqttserver.Batch, p *mqtt.Subscribe) {
	answer := &mqtt.Suback{ID: p.ID}
	for _, f := range p.Filters {
		r := g.chat.room(f.Filter)
		if r == nil {
			answer.Reasons = append(answer.Reasons, mqtt.ReasonTopicFilterInvalid)
			continue
		}
		r.mu.Lock()
		r.members[g] = f.QoS
		r.mu.Unlock()
		g.in[f.Filter] = r
		answer.Reasons = append(answer.Reasons, mqtt.ReasonCode(f.QoS))
	}
	g.conn.Suback(b, answer)
}

// Unsubscribe leaves rooms.
func (g *guest) Unsubscribe(b *mqttserver.Batch, p *mqtt.Unsubscribe) {
	answer := &mqtt.Unsuback{ID: p.ID}
	for _, f := range p.Filters {
		reason := mqtt.ReasonNoSubscriptionExisted
		if g.leave(f) {
			reason = mqtt.ReasonSuccess
		}
		answer.Reasons = append(answer.Reasons, reason)
	}
	g.conn.Unsuback(b, answer)
}

// leave leaves a room.
func (g *guest) leave(topic string) bool {
	r := g.in[topic]
	if r == nil {
		return false
	}
	delete(g.in, topic)
	r.mu.Lock()
	delete(r.members, g)
	r.mu.Unlock()
	return true
}

// Settled has nothing to release: messages are kept by the garbage collector alone.
func (g *guest) Settled(*mqttserver.Batch, any, mqtt.ReasonCode) {}

// Resend returns what Publish has sent.
func (g *guest) Resend(ref any) (*mqtt.Publish, bool) { return ref.(*mqtt.Publish), true }

// Ready has nothing to send: what a slow guest missed is gone.
func (g *guest) Ready(*mqttserver.Batch) {}

// Closed leaves all rooms.
func (g *guest) Closed(error, *mqtt.Disconnect) {
	for topic := range g.in {
		g.leave(topic)
	}
}
