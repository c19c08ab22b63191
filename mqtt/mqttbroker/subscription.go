package mqttbroker

import (
	"strings"
	"sync/atomic"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/topic"
)

// subscription is an entry of the topic index: the subscription of a client, that of an in-process subscriber, or a
// group of shared subscriptions, which stands for its members. A member is not in the index.
type subscription struct {
	s      *session
	local  *Subscription
	group  *group
	filter string        // as it was subscribed, with the share name
	opts   atomic.Uint64 // subscriptionOptions; replaced in place, so that nothing is lost meanwhile [MQTT-3.8.4-4]
}

// options returns the options of the subscription.
func (s *subscription) options() subscriptionOptions { return subscriptionOptions(s.opts.Load()) }

// shared reports whether it is a member of a group. Such filters are shared subscriptions in every version.
func (s *subscription) shared() bool { return strings.HasPrefix(s.filter, "$share/") }

// subscriptionOptions are the options of a subscription in one word: flags, and the subscription identifier above.
type subscriptionOptions uint64

const (
	optQoS     subscriptionOptions = 3
	optNoLocal subscriptionOptions = 1 << 2
	optRAP     subscriptionOptions = 1 << 3
	// optChecked: each message is authorized [AllowEach].
	optChecked subscriptionOptions = 1 << 4
	// optMatched: the options are those of several subscriptions, of which at least one concerns the message.
	optMatched subscriptionOptions = 1 << 5
	// optEphemeral: the subscription is that of a data stream, and ends with it.
	optEphemeral subscriptionOptions = 1 << 6
	// optWhere is optEphemeral and the number of the data stream on which messages are to be sent, without the bits that tell
	// its kind; 0 is stream 0. It is not stored: no stream outlives its connection.
	optWhere    subscriptionOptions = 1<<idShift - optEphemeral
	streamShift                     = 7
	// optStored are the flags that the journal has.
	optStored = optQoS | optNoLocal | optRAP
	idShift   = 32
)

// makeOptions packs options. QoS is the granted one.
func makeOptions(f mqtt.Subscription, id uint32, d Decision) subscriptionOptions {
	o := subscriptionOptions(f.QoS)&optQoS | subscriptionOptions(id)<<idShift
	if f.NoLocal {
		o |= optNoLocal
	}
	if f.RetainAsPublished {
		o |= optRAP
	}
	if d == AllowEach {
		o |= optChecked
	}
	return o
}

func (o subscriptionOptions) qos() mqtt.QoS { return mqtt.QoS(o & optQoS) }

func (o subscriptionOptions) has(flag subscriptionOptions) bool { return o&flag != 0 }

// stream returns the data stream, 0 for stream 0.
func (o subscriptionOptions) stream() uint32 { return uint32(o&optWhere) >> streamShift }

// onStream returns the options that place messages on a data stream of the server.
func onStream(stream uint64) subscriptionOptions {
	return subscriptionOptions(stream>>2) << streamShift & optWhere
}

func (o subscriptionOptions) id() uint32 { return uint32(o >> idShift) }

// with returns o with a flag on or off.
func (o subscriptionOptions) with(flag subscriptionOptions, on bool) subscriptionOptions {
	if on {
		return o | flag
	}
	return o &^ flag
}

// subscriptions are those of one session. Few are a slice, many have an index.
type subscriptions struct {
	list []*subscription
	many *subscriptionIndex // nil while there are few
}

// subscriptionIndex finds subscriptions by their filters.
type subscriptionIndex struct {
	place map[string]int32
	tally tally
}

// tally counts subscriptions that are not shared.
type tally struct {
	plain int32
	wild  int32 // of them, how many can match more than one topic
}

// fewSubscriptions is how many are searched one by one.
const fewSubscriptions = 16

func (l *subscriptions) find(filter string) int {
	if l.many != nil {
		if i, ok := l.many.place[filter]; ok {
			return int(i)
		}
		return -1
	}
	for i, s := range l.list {
		if s.filter == filter {
			return i
		}
	}
	return -1
}

// get returns the subscription with a filter, or nil.
func (l *subscriptions) get(filter string) *subscription {
	if i := l.find(filter); i >= 0 {
		return l.list[i]
	}
	return nil
}

// add adds a subscription whose filter is new.
func (l *subscriptions) add(s *subscription) {
	l.list = append(l.list, s)
	if m := l.many; m != nil {
		m.place[s.filter] = int32(len(l.list) - 1)
		m.tally.add(s, 1)
	} else if len(l.list) > fewSubscriptions {
		l.many = &subscriptionIndex{place: make(map[string]int32, 2*len(l.list)), tally: l.count()}
		for i, s := range l.list {
			l.many.place[s.filter] = int32(i)
		}
	}
}

// remove takes the subscription with a filter out and returns it, or nil.
func (l *subscriptions) remove(filter string) *subscription {
	i := l.find(filter)
	if i < 0 {
		return nil
	}
	s, last := l.list[i], len(l.list)-1
	l.list[i] = l.list[last]
	l.list[last] = nil
	l.list = l.list[:last]
	if m := l.many; m != nil {
		delete(m.place, filter)
		if i < last {
			m.place[l.list[i].filter] = int32(i)
		}
		m.tally.add(s, -1)
	}
	return s
}

// count counts the subscriptions.
func (l *subscriptions) count() (t tally) {
	if l.many != nil {
		return l.many.tally
	}
	for _, s := range l.list {
		t.add(s, 1)
	}
	return t
}

func (t *tally) add(s *subscription, n int32) {
	if s.shared() {
		return
	}
	t.plain += n
	if topic.MQTT.HasWildcard(s.filter) {
		t.wild += n
	}
}

// overlap reports whether two of them may match the same topic.
func (l *subscriptions) overlap() bool {
	t := l.count()
	return t.wild >= 1 && t.plain >= 2
}
