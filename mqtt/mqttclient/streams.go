package mqttclient

import (
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
)

// Streams configures the use of several streams of one connection, the multi-stream mode of MQTT over QUIC. It has an
// effect only on connections that have streams, which are those of quic/quicnet; on others the client works as without.
// The server must know the mode: a stream of which it takes no notice loses what is sent on it.
//
// Stream 0 carries CONNECT, pings and whatever is about the connection. Further ones, the data streams, are opened by
// the client. A lost packet of the network delays the messages of one stream only, and a stream of which the peer does
// not read does not stop the others: the client bounds the bytes that wait in all streams together with
// Limits.OutputBuffer, the messages in flight with Limits.MaxInflight and those that wait with Queue, and each stream may
// have as much of them as is left for others.
//
// Messages of one stream arrive in the order in which they were published, those of different streams do not. Topic aliases
// are used on stream 0 only. The standard knows nothing of this; docs/quic-profiles.md has the rules, which are those of EMQX
// and NanoSDK, with Keep and Datagrams added.
type Streams struct {
	// Policy says which messages share a stream.
	Policy StreamPolicy

	// Group returns the key of a topic, for StreamPerGroup: messages with equal keys share a stream. The empty key is
	// stream 0. It is called with a lock held: it must be quick, always return the same, and not call the client.
	Group func(topic string) string

	// Max is how many data streams are open at a time, those of subscriptions included, 255 at most. Further keys share
	// the streams that there are. A server may allow fewer: messages that get no stream within a second take stream 0.
	// Zero is 64; negative opens none, which leaves datagrams.
	Max int

	// Idle is the time after which a stream without traffic is closed; it takes up to twice as long. Zero is 30 seconds,
	// negative is never.
	Idle time.Duration

	// Keep asks the server to keep what is in flight at QoS 1 and 2 on a stream when that ends, alone or with its
	// connection: it is sent again on another stream, and QoS 2 stays exactly once. It takes version 5 and a server that
	// agrees (CONNECT and CONNACK have a user property "quartet-streams" with the value "keep"; mqttserver can be told to).
	//
	// Without it the state of a stream dies with the stream. What the client had in flight there is published anew at QoS
	// 1 and fails with ErrStreamLost at QoS 2, also when the session goes on; messages that came on it are not
	// acknowledged any more. With Options.Dir Keep is implied, and data streams are used only where the server agrees.
	Keep bool

	// Datagrams sends QoS 0 messages in datagrams (RFC 9221) when they fit, and takes those that the server sends so. They
	// may be lost, overtake each other, and overtake what is sent on streams. It takes version 5 and a server that agrees
	// (user property "quartet-datagrams", value "1"); otherwise, and when a message is too large, messages take streams.
	Datagrams bool
}

// StreamPolicy says which messages share a data stream.
type StreamPolicy uint8

// The policies.
const (
	StreamPerTopic    StreamPolicy = iota // those of a topic
	StreamPerGroup                        // those with a key of the application's, see Streams.Group
	StreamPerPriority                     // those with a Message.Priority; priority 0 has stream 0
)

// The user properties of CONNECT and CONNACK by which client and server agree on more than the standard has.
const (
	propStreams   = "quartet-streams"
	propKeep      = "keep"
	propDatagrams = "quartet-datagrams"
	propYes       = "1"
)

// streamPatience is how long messages wait for a stream, and how long a stream must live for another to be opened in its
// place.
const streamPatience = time.Second

// check fills in the defaults.
func (o Streams) check(dir string) (*Streams, error) {
	switch {
	case o.Policy > StreamPerPriority:
		return nil, fmt.Errorf("mqttclient: unknown stream policy %d", o.Policy)
	case (o.Policy == StreamPerGroup) != (o.Group != nil):
		return nil, fmt.Errorf("mqttclient: Streams.Group goes with StreamPerGroup")
	}
	o.Max = min(orDefault(o.Max, 64), 255)
	o.Idle = orDefault(o.Idle, 30*time.Second)
	o.Keep = o.Keep || dir != ""
	return &o, nil
}

// priorities are the keys of the priorities.
var priorities = [8]string{"", "1", "2", "3", "4", "5", "6", "7"}

// key returns the key of a message.
func (o *Streams) key(topic string, priority uint8) string {
	switch o.Policy {
	case StreamPerGroup:
		return o.Group(topic)
	case StreamPerPriority:
		return priorities[min(priority, 7)]
	}
	return topic
}

// offer adds to the properties of CONNECT what is to be agreed on.
func (o *Streams) offer(p mqtt.Properties) mqtt.Properties {
	if o.Keep && o.Max > 0 {
		p = p.AppendUser(propStreams, propKeep)
	}
	if o.Datagrams {
		p = p.AppendUser(propDatagrams, propYes)
	}
	return p
}

// useStreams finds out whether the conn has streams.
func (k *conn) useStreams() {
	if k.c.o.Streams != nil {
		k.mux, _ = k.nc.(netio.Streams)
	}
}

// agree takes note of what the server has agreed to.
func (k *conn) agree(p mqtt.Properties) {
	o := k.c.o.Streams
	if k.mux == nil {
		return
	}
	for name, value := range p.UserProperties() {
		switch {
		case name == propStreams && value == propKeep:
			k.keep = o.Keep
		case name == propDatagrams && value == propYes:
			k.datagrams = o.Datagrams
		}
	}
	k.multi = o.Max > 0 && (k.keep || k.c.store == nil)
	if k.multi && !k.keep {
		k.sess.IsolateStreams()
	}
	if k.datagrams {
		go k.readDatagrams()
	}
}
