package mqttclient

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/quartet-mq/quartet/mqtt"
)

// calls are the requests that wait for a response. Client.mu guards it.
type calls struct {
	topic    string
	sub      *Subscription
	starting chan struct{} // held by the one that subscribes
	next     uint64
	waiting  map[uint64]chan *Message
}

// Request publishes m as a request and waits for the response (section 4.10): it sets the response topic and correlation
// data, in place of those that m has. All requests of a client share one response topic and one subscription. m is not
// changed.
//
// The error is an *mqtt.Error with Remote set and ReasonNoMatchingSubscribers when the server says that nobody receives
// requests on that topic (at QoS 1 and 2, where servers tell); errors.ErrUnsupported on a connection of MQTT 3.1.1, which
// has no such properties; otherwise as that of Publish. When ctx ends the request may have been received.
func (c *Client) Request(ctx context.Context, m *Message) (*Message, error) {
	topic, err := c.responseTopic(ctx)
	if err != nil {
		return nil, err
	}
	id, answer := c.addCall()
	defer c.removeCall(id)
	q := &Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain}
	for p := range m.Properties.All() {
		if p.ID != mqtt.PropResponseTopic && p.ID != mqtt.PropCorrelationData {
			q.Properties = q.Properties.Append(p)
		}
	}
	q.Properties = q.Properties.AppendString(mqtt.PropResponseTopic, topic)
	q.Properties = q.Properties.AppendBytes(mqtt.PropCorrelationData, binary.BigEndian.AppendUint64(nil, id))
	p, err := c.publish(ctx, q) // nobody waits for the response of a request that was only stored
	if err != nil {
		return nil, err
	}
	if p == nil {
		p = c.sent
	}
	published := p.Done()
	for {
		select {
		case r := <-answer:
			return r, nil
		case <-published:
			if err := p.Err(); err != nil {
				return nil, err
			}
			if p.Reason() == mqtt.ReasonNoMatchingSubscribers {
				return nil, &mqtt.Error{Code: p.Reason(), Reason: m.Topic, Remote: true}
			}
			published = nil
		case <-c.done:
			return nil, c.Err()
		case <-ctx.Done():
			if err := c.withdraw(ctx, p); err != nil {
				return nil, err
			}
			return nil, context.Cause(ctx) // it was sent, and nobody has answered
		}
	}
}

// responseTopic returns the response topic. The first call subscribes to it.
func (c *Client) responseTopic(ctx context.Context) (string, error) {
	if err := c.Connected(ctx); err != nil {
		return "", err
	}
	c.mu.Lock()
	if c.info.Version < mqtt.Version5 {
		c.mu.Unlock()
		return "", fmt.Errorf("mqttclient: request over MQTT %s: %w", c.info.Version, errors.ErrUnsupported)
	}
	c.mu.Unlock()
	select {
	case c.calls.starting <- struct{}{}:
		defer func() { <-c.calls.starting }()
	case <-ctx.Done():
		return "", &unsentError{context.Cause(ctx)}
	}
	c.mu.Lock()
	topic, sub := c.calls.topic, c.calls.sub
	if topic == "" {
		topic = c.newResponseTopic()
	}
	c.mu.Unlock()
	if sub != nil && !sub.ended() { // a server may refuse to subscribe again
		return topic, nil
	}
	sub = newSubscription(c, nil, []mqtt.Subscription{{Filter: topic, QoS: mqtt.QoS1}})
	sub.reply = c.answer
	sub, err := c.subscribe(ctx, sub)
	if err != nil {
		return "", &unsentError{err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls.topic, c.calls.sub = topic, sub
	return topic, nil
}

// newResponseTopic chooses the response topic. c.mu is held.
func (c *Client) newResponseTopic() string {
	base := c.o.ResponseTopic
	if base == "" {
		base, _ = c.info.Properties.String(mqtt.PropResponseInformation)
	}
	if base == "" {
		base = "response"
	}
	return base + "/" + c.info.ClientID
}

func (c *Client) addCall() (id uint64, answer chan *Message) {
	answer = make(chan *Message, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls.waiting == nil {
		c.calls.waiting = make(map[uint64]chan *Message)
	}
	c.calls.next++
	c.calls.waiting[c.calls.next] = answer
	return c.calls.next, answer
}

func (c *Client) removeCall(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls.waiting, id)
}

// answer hands a response to the call that waits for it. c.mu is held.
func (c *Client) answer(m *Message) {
	data, _ := m.Properties.Bytes(mqtt.PropCorrelationData)
	if len(data) != 8 {
		return
	}
	id := binary.BigEndian.Uint64(data)
	if w := c.calls.waiting[id]; w != nil {
		delete(c.calls.waiting, id)
		m.in = nil // acknowledged by the caller of push
		w <- m
	}
}
