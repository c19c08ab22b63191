package mqttclient

import (
	"context"
	"time"

	"github.com/quartet-mq/quartet/mqtt"
)

// publishDatagram sends a QoS 0 message in a datagram. It reports false when that is not agreed on, or the message is too
// large for the path.
func (c *Client) publishDatagram(m *Message) (sent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.conn
	if k != nil && k.datagrams && m.size() > maxDatagram {
		c.stats.DatagramsRefused++
		return false
	}
	if k == nil || !k.datagrams || k.closing || k.err != nil || k.early && !c.o.EarlyPublish {
		return false
	}
	// The machine counts what is sent for keep alive and checks what the server allows. It gives no alias on a stream
	// other than 0.
	k.topic = append(k.topic[:0], m.Topic...)
	k.pub = mqtt.Publish{Topic: k.topic, Payload: m.Payload, Properties: m.Properties, Retain: m.Retain}
	if _, err := k.sess.Publish(time.Now(), datagramStream, &k.pub, nil); err != nil {
		return false
	}
	b, err := mqtt.AppendPublish(k.gram[:0], &k.pub, k.version)
	if err != nil {
		return false
	}
	k.gram = nil
	c.mu.Unlock()
	err = k.mux.SendDatagram(b)
	c.mu.Lock()
	if k.gram = b; err != nil {
		c.stats.DatagramsRefused++
		return false
	}
	c.stats.DatagramsSent++
	c.stats.PublishesSent++
	c.stats.BytesSent += uint64(len(b))
	if f := c.o.Trace.PacketSent; f != nil {
		f(&mqtt.Publish{Topic: []byte(m.Topic), Payload: m.Payload, Properties: m.Properties, Retain: m.Retain})
	}
	return true
}

// maxDatagram is how large a message may be for which it is tried, in bytes: no path takes more.
const maxDatagram = 16 << 10

// datagramStream stands for datagrams where the machine wants a stream. It is not the number of a stream that a client
// opens.
const datagramStream = 1<<62 - 1

// readDatagrams takes datagrams until the connection is over.
func (k *conn) readDatagrams() {
	dec := mqtt.Decoder{From: mqtt.Server, MaxSize: k.dec.MaxSize}
	for {
		b, err := k.mux.ReceiveDatagram(context.Background())
		if err != nil {
			return
		}
		k.receiveDatagram(&dec, b)
	}
}

// receiveDatagram handles a datagram, which must be one PUBLISH of QoS 0 without an alias. Others are dropped and
// counted: nothing that is unreliable ends a connection.
func (k *conn) receiveDatagram(dec *mqtt.Decoder, b []byte) {
	c := k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.closing || !k.up {
		return
	}
	c.stats.BytesReceived += uint64(len(b))
	p, n, err := dec.Decode(b, k.version)
	pub, ok := p.(*mqtt.Publish)
	if err != nil || !ok || n != len(b) || pub.QoS != mqtt.QoS0 || len(pub.Topic) == 0 || pub.Properties.Has(mqtt.PropTopicAlias) {
		c.stats.DatagramsDropped++
		return
	}
	c.stats.DatagramsReceived++
	if f := c.o.Trace.PacketReceived; f != nil {
		f(pub)
	}
	k.sess.Receive(time.Now(), datagramStream, pub)
	k.events()
	k.crowd = nil
	k.kick()
	k.arm()
}
