package mqttclient

import (
	"cmp"
	"slices"
	"strings"

	"github.com/quartet-mq/quartet/internal/ring"
)

// lane is the messages that go one behind the other: those of stream 0, or those that share a data stream. It outlives
// streams and connections. Client.mu guards it.
type lane struct {
	n     uint8 // 0 is the lane of stream 0
	queue ring.Ring[*Publication]
	bytes int           // of the queue
	held  int           // QoS 2 messages that wait for their barrier, or for their body after that
	room  chan struct{} // closed when the queue has room again; nil when nobody waits

	// Of data streams only.
	key       string          // "" for that of a subscription
	shared    bool            // has other keys, too
	priority  uint8           //
	sub       *Subscription   // has it for its own
	inflight  int             // QoS 1 and 2 messages that are sent and not complete
	unacked   int             // messages that came on the stream and are not acknowledged
	subscribe []*subscribeRef // SUBSCRIBE packets that wait for the stream
	state     laneState
	s         *stream // when open or ending
	used      bool    // something was sent or came lately
}

// laneState says what a lane of a data stream has on the connection.
type laneState uint8

const (
	laneClosed  laneState = iota // no stream
	laneOpening                  // a stream is being opened
	laneOpen
	laneEnding  // the stream's sending side is closed, its end is awaited
	laneControl // no stream could be opened: stream 0 is used
)

// stream returns the number of the lane's stream.
func (l *lane) stream() uint64 {
	if l.s == nil {
		return 0
	}
	return l.s.id
}

// idle reports whether nothing needs the lane.
func (l *lane) idle() bool {
	return l.queue.Len() == 0 && l.inflight == 0 && l.unacked == 0 && l.sub == nil && len(l.subscribe) == 0 && l.room == nil &&
		l.state != laneOpening && (l.s == nil || l.s.size == 0)
}

// waitRoom returns a channel that is closed when there is room.
func (l *lane) waitRoom() <-chan struct{} {
	if l.room == nil {
		l.room = make(chan struct{})
	}
	return l.room
}

// wakeIf lets those go on that wait for room, when there is.
func (l *lane) wakeIf(room bool) {
	if room && l.room != nil {
		close(l.room)
		l.room = nil
	}
}

// lanes are the lanes of data streams.
type lanes struct {
	all   []*lane // by number, from 1 on; nil is a free one
	keys  map[string]*lane
	order []*lane // those in use, the higher priority first
}

// find returns the lane that a key has already, or nil.
func (ls *lanes) find(key string) *lane {
	if l := ls.keys[key]; l != nil {
		return l
	}
	if len(ls.all) == 0 {
		return nil
	}
	if l := ls.all[hash(key)%uint32(len(ls.all))]; l != nil && l.shared {
		return l
	}
	return nil
}

// assign returns the lane of a key: its own as long as there are fewer than limit, then one that it shares. A key stays
// with its lane as long as that is in use, so its messages keep their order; nothing is remembered of keys that share.
func (ls *lanes) assign(key string, priority uint8, limit int) *lane {
	if l := ls.find(key); l != nil {
		return l
	}
	l := ls.take(int(hash(key)%uint32(limit)), priority, limit)
	if l == nil {
		l = ls.all[hash(key)%uint32(limit)]
		l.shared = true
		return l
	}
	l.key = key
	if ls.keys == nil {
		ls.keys = make(map[string]*lane)
	}
	ls.keys[key] = l
	return l
}

// take returns a new lane, with the number want+1 when that is free, or nil.
func (ls *lanes) take(want int, priority uint8, limit int) *lane {
	if ls.all == nil {
		ls.all = make([]*lane, limit)
	}
	if ls.all[want] != nil {
		want = slices.Index(ls.all, nil)
	}
	if want < 0 {
		return nil
	}
	l := &lane{n: uint8(want + 1), priority: priority}
	ls.all[want] = l
	at, _ := slices.BinarySearchFunc(ls.order, l, func(a, b *lane) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.n, b.n))
	})
	ls.order = slices.Insert(ls.order, at, l)
	return l
}

// release gives an idle lane back.
func (ls *lanes) release(l *lane) {
	ls.all[l.n-1] = nil
	if l.key != "" {
		delete(ls.keys, l.key)
	}
	ls.order = slices.DeleteFunc(ls.order, func(m *lane) bool { return m == l })
}

// hash is FNV-1a.
func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// laneOf returns the lane of a message. c.mu is held.
func (c *Client) laneOf(m *Message) *lane {
	if c.o.Streams == nil {
		return &c.out.lane
	}
	return c.laneOfKey(c.o.Streams.key(m.Topic, m.Priority), m.Priority)
}

func (c *Client) laneOfKey(key string, priority uint8) *lane {
	o := c.o.Streams
	switch k := c.conn; {
	case key == "" || o.Max < 0:
		return &c.out.lane
	case k != nil && !k.multi:
		if l := c.out.others.find(key); l != nil && (l.queue.Len() > 0 || l.held > 0) { // behind those
			return l
		}
		return &c.out.lane
	case o.Policy != StreamPerPriority:
		priority = 0
	}
	// The key may be a part of a large string.
	if l := c.out.others.find(key); l != nil {
		return l
	}
	return c.out.others.assign(strings.Clone(key), priority, o.Max)
}
