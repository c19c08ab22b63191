package mqttclient

import (
	"slices"

	"github.com/quartet-mq/quartet/internal/journal"
)

// cold reports whether the body of p is in the journal only.
func (p *Publication) cold() bool { return p.seq != 0 && p.pub.Topic == nil }

// chill takes the body of a message with a record out of memory.
func (s *store) chill(p *Publication) {
	if p.pub.Topic == nil {
		return
	}
	s.hot -= p.size()
	p.pub.Topic, p.pub.Properties, p.pub.Payload = nil, nil, nil
}

// takesHot reports whether the next message may stay in memory: those in memory wait before those that are not.
func (s *store) takesHot(p *Publication) bool {
	behind := s.last != nil && s.last.stage == stageQueued && s.last.cold()
	return !behind && s.hot+p.size() <= hotBytes
}

// enqueue accepts a message of QoS 1 or 2 of a client with a directory, and sends it if it is its turn. c.mu is held.
func (c *Client) enqueue(p *Publication) {
	s := c.store
	hot := s.takesHot(p)
	s.message(p)
	c.out.push(p)
	if c.conn != nil {
		c.sendQueued()
		c.conn.kick()
	}
	if !hot {
		s.chill(p)
	}
}

// wasSent takes the body of a message out of memory when there are many: it is needed again only after a reconnection.
func (s *store) wasSent(p *Publication) {
	if s.hot > hotBytes/2 {
		s.chill(p)
	}
}

// asked is an EventResend that waits for the body of its message.
type asked struct {
	id uint16
	p  *Publication
}

// unhold notes that a QoS 2 message does not wait for its barrier any more.
func (k *conn) unhold(p *Publication) {
	if p.held {
		p.held = false
		k.held--
		k.c.out.of(p.lane).held--
	}
}

// answerAsked answers EventResend, in order, as far as the bodies are in memory.
func (k *conn) answerAsked() {
	for len(k.asked) > 0 && !k.asked[0].p.cold() && k.ready(k.c.out.of(k.asked[0].p.lane)) {
		a := k.asked[0]
		k.asked[0] = asked{}
		k.asked = k.asked[1:]
		k.answer(a.id, a.p)
	}
	k.events()
}

// mayLoad reports whether the front of a lane's queue is to be loaded. c.mu is held.
func (c *Client) mayLoad() bool {
	k := c.conn
	if k == nil || c.store.hot >= hotBytes && k.held > 0 || k.sess.Quota() == 0 {
		return false
	}
	return c.loadable(&c.out.lane) || slices.ContainsFunc(c.out.others.order, c.loadable)
}

// loadable reports whether the front of a lane's queue could be sent if it were loaded.
func (c *Client) loadable(l *lane) bool {
	return l.queue.Len() > 0 && l.queue.Front().cold() && c.conn.room(l) && c.conn.turn(l)
}

// warm sees to it that bodies whose turn has come are loaded. c.mu is held.
func (c *Client) warm() {
	k := c.conn
	if c.store.loading || k == nil || c.closed || len(k.asked) == 0 && !c.mayLoad() {
		return
	}
	c.store.loading = true
	go c.load()
}

// load loads bodies until there is nothing to load.
func (c *Client) load() {
	r := c.store.j.NewReader()
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		list := c.toLoad()
		if len(list) == 0 {
			c.store.loading = false
			return
		}
		c.mu.Unlock()
		err := readBodies(r, list)
		c.mu.Lock()
		if err != nil {
			c.storageFailed(err)
			continue
		}
		c.loaded(list)
	}
}

// body is the body of a message that is loaded.
type body struct {
	p    *Publication
	seq  uint64
	data []byte // its record
}

// toLoad chooses what to load: for EventResends, then for the queue. c.mu is held.
func (c *Client) toLoad() (list []body) {
	k := c.conn
	if k == nil || c.closed {
		return nil
	}
	room := min(loadBytes, hotBytes-c.store.hot)
	add := func(p *Publication) bool {
		if !p.cold() {
			return true
		}
		if room -= p.size(); room < 0 && len(list) > 0 {
			return false
		}
		list = append(list, body{p: p, seq: p.seq})
		return true
	}
	for _, a := range k.asked {
		if !add(a.p) {
			break
		}
	}
	if len(list) > 0 || !c.mayLoad() {
		return list
	}
	for _, l := range append([]*lane{&c.out.lane}, c.out.others.order...) {
		for i := 0; c.loadable(l) && i < l.queue.Len(); i++ {
			if !add(l.queue.At(i)) {
				break
			}
		}
	}
	return list
}

// readBodies reads the records of messages.
func readBodies(r *journal.Reader[token], list []body) error {
	for i := range list {
		b, err := r.Read(list[i].seq)
		if err != nil {
			return err
		}
		list[i].data = append([]byte(nil), b...)
	}
	return nil
}

// loaded puts bodies in their place and sends what can be sent now. c.mu is held.
func (c *Client) loaded(list []body) {
	for _, b := range list {
		if b.p.seq != b.seq || !b.p.cold() {
			continue
		}
		m, _, err := parseMessage(b.data)
		if err != nil {
			c.storageFailed(err)
			return
		}
		b.p.pub.Topic, b.p.pub.Properties, b.p.pub.Payload = m.Topic, m.Properties, m.Payload
		c.store.hot += b.p.size()
	}
	if k := c.conn; k != nil && !c.closed {
		k.answerAsked()
		c.sendQueued()
		k.kick()
		k.arm()
	}
}
