package mqttclient

import (
	"fmt"
	"maps"
	"slices"

	"github.com/quartet-mq/quartet/mqtt"
)

// restoring is what a replay of the journal has found. What lies before the last checkpoint may have gaps.
type restoring struct {
	c        *Client
	owner    string
	messages map[uint64]*Publication // those that are needed; size 0 while there is no record
	flights  []flight                // id 0 is one that has ended
	at       map[uint16]int          // in flights
}

// restore replays the journal.
func (c *Client) restore() error {
	r := &restoring{c: c, messages: make(map[uint64]*Publication), at: make(map[uint16]int)}
	if err := c.store.j.Replay(r.replay); err != nil {
		return &StorageError{Dir: c.o.Dir, Err: err}
	}
	if err := c.o.identify(r.owner); err != nil {
		return err
	}
	if err := r.keep(); err != nil {
		return &StorageError{Dir: c.o.Dir, Err: err}
	}
	return nil
}

func (r *restoring) replay(seq uint64, b []byte) error {
	rec, err := parseRecord(b)
	if err == nil {
		err = r.apply(seq, &rec, b)
	}
	if err != nil {
		return fmt.Errorf("record %d: %w", seq, err)
	}
	return nil
}

func (r *restoring) apply(seq uint64, rec *record, b []byte) error {
	s := r.c.store
	switch rec.kind {
	case recordOwner:
		r.owner, s.owner = string(rec.data), seq
		return nil
	case recordMessage:
		return r.message(seq, b)
	case recordCheckpoint:
		s.check, s.checked, s.dirty = seq, len(b), 0
		return r.checkpoint(rec.data, seq)
	}
	if s.dirty == 0 {
		s.dirty = seq
	}
	switch rec.kind {
	case recordDropped:
		delete(r.messages, rec.seq)
	case recordAssigned:
		r.assign(flight{seq: rec.seq, id: rec.id, qos: rec.qos})
	case recordPubrec:
		if f := r.flight(rec.id); f != nil {
			delete(r.messages, f.seq)
			f.seq, f.released = 0, true
		}
	case recordSettled:
		r.settle(rec.id)
	case recordReceived:
		s.inbound.Add(rec.id)
	case recordReleased:
		s.inbound.Remove(rec.id)
	case recordBegun:
		r.begin()
	}
	return nil
}

// get returns the message with a number, of which the record may be missing.
func (r *restoring) get(seq uint64) *Publication {
	p := r.messages[seq]
	if p == nil {
		p = &Publication{c: r.c, seq: seq}
		r.messages[seq] = p
	}
	return p
}

func (r *restoring) message(seq uint64, b []byte) error {
	m, expires, err := parseMessage(b)
	if err != nil {
		return err
	}
	p := r.get(seq)
	p.pub.QoS, p.pub.Retain, p.expires = m.QoS, m.Retain, expires
	p.lane = r.c.restoredLane(&m, b)
	p.n = uint32(len(m.Topic) + len(m.Properties) + len(m.Payload))
	r.c.store.live[seq] = uint32(len(b))
	return nil
}

// flight returns what is in flight with a packet identifier, or nil.
func (r *restoring) flight(id uint16) *flight {
	if i, ok := r.at[id]; ok {
		return &r.flights[i]
	}
	return nil
}

func (r *restoring) assign(f flight) {
	if old := r.flight(f.id); old != nil && old.seq == f.seq { // again
		return
	}
	r.settle(f.id)
	if !f.released {
		r.get(f.seq)
	}
	r.compact()
	r.at[f.id] = len(r.flights)
	r.flights = append(r.flights, f)
}

func (r *restoring) settle(id uint16) {
	if f := r.flight(id); f != nil {
		delete(r.messages, f.seq)
		delete(r.at, id)
		f.id = 0
	}
}

// compact removes those that have ended when they are many.
func (r *restoring) compact() {
	if len(r.flights) < 1024 || len(r.flights) < 2*len(r.at) {
		return
	}
	r.flights = slices.DeleteFunc(r.flights, func(f flight) bool { return f.id == 0 })
	for i, f := range r.flights {
		r.at[f.id] = i
	}
}

// begin replays the begin of a new session.
func (r *restoring) begin() {
	for _, f := range r.flights {
		if f.id != 0 && f.qos == mqtt.QoS2 {
			delete(r.messages, f.seq)
		}
	}
	r.flights, r.at = nil, make(map[uint16]int)
	r.c.store.inbound.Reset()
	r.c.store.session = true
}

// checkpoint replays what there was: messages that it does not name are done.
func (r *restoring) checkpoint(data []byte, seq uint64) error {
	x, err := parseSnapshot(data, seq)
	if err != nil {
		return err
	}
	s := r.c.store
	old := r.messages
	r.messages, r.flights, r.at = make(map[uint64]*Publication), nil, make(map[uint16]int)
	need := func(seq uint64) {
		if p := old[seq]; p != nil {
			r.messages[seq] = p
		}
	}
	for _, f := range x.flights {
		need(f.seq)
		r.assign(f)
	}
	for _, seq := range x.waiting {
		need(seq)
		r.get(seq)
	}
	s.session = x.session
	s.inbound.Reset()
	for _, id := range x.inbound {
		s.inbound.Add(id)
	}
	return nil
}

// keep makes what was found the client's.
func (r *restoring) keep() error {
	c, s := r.c, r.c.store
	if s.owner == 0 && len(r.messages)+len(r.at) > 0 {
		return fmt.Errorf("%w: the owner is missing", errRecord)
	}
	if s.owner != 0 {
		s.j.Restore(s.owner, 1+len(r.owner))
	}
	if s.check != 0 {
		s.j.Restore(s.check, s.checked)
	}
	for seq, p := range r.messages {
		if p.n == 0 {
			return fmt.Errorf("%w: message %d is missing", errRecord, seq)
		}
		s.j.Restore(seq, int(s.live[seq]))
	}
	maps.DeleteFunc(s.live, func(seq uint64, _ uint32) bool { return r.messages[seq] == nil })
	if err := r.keepFlights(); err != nil {
		return err
	}
	for _, seq := range slices.Sorted(maps.Keys(r.messages)) {
		c.out.push(r.messages[seq])
		s.last = r.messages[seq]
	}
	for id := range s.inbound.All() {
		if err := c.state.Apply(mqtt.DeltaReceived, id, mqtt.QoS2, nil); err != nil {
			return err
		}
	}
	for _, l := range slices.Clone(c.out.others.order) {
		if l.idle() {
			c.out.others.release(l)
		}
	}
	if s.session {
		c.o.Resume = true
	}
	return nil
}

// keepFlights restores what was in flight.
func (r *restoring) keepFlights() error {
	c := r.c
	for _, f := range r.flights {
		if f.id == 0 {
			continue
		}
		p := r.messages[f.seq]
		if f.released {
			p = &Publication{c: c, pub: mqtt.Publish{QoS: f.qos}}
		} else if p.pub.QoS != f.qos {
			return fmt.Errorf("%w: QoS of message %d", errRecord, f.seq)
		}
		if err := c.state.Apply(mqtt.DeltaAssigned, f.id, f.qos, p); err != nil {
			return err
		}
		if f.released {
			if err := c.state.Apply(mqtt.DeltaPubrec, f.id, f.qos, nil); err != nil {
				return err
			}
		}
		delete(r.messages, f.seq)
		c.out.addInflight(p)
	}
	return nil
}

// restoredLane returns the number of the lane of a message whose record is b.
func (c *Client) restoredLane(m *mqtt.Publish, b []byte) uint8 {
	if c.o.Streams == nil {
		return 0
	}
	return c.laneOf(&Message{Topic: string(m.Topic), Priority: b[1] >> priorityShift & 7}).n
}
