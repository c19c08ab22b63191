package mqttclient

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/internal/journal"
	"github.com/quartet-mq/quartet/mqtt"
	topicdelivery "github.com/quartet-mq/quartet/topic/delivery"
)

// store is the client's side of the journal in Options.Dir. A client without a directory has none. Client.mu guards it;
// the journal never waits for storage when something is appended.
type store struct {
	c       *Client
	j       *journal.Journal[token]
	head    []byte            // scratch
	live    map[uint64]uint32 // messages whose bodies are needed, and what they are worth to the journal
	inbound topicdelivery.IDs // of QoS 2, taken and not released
	session bool              // there is one at the server
	owner   uint64            // the record that says whose directory it is
	check   uint64            // the last checkpoint
	checked int               // what it is worth
	dirty   uint64            // the first record since the checkpoint that it does not cover
	over    bool              // nothing is recorded any more
	final   []byte            // the checkpoint of what there was then

	hot     int          // bytes of bodies in memory
	last    *Publication // the last that was accepted
	loading bool

	closing sync.Once
	err     error // of closing
}

const (
	hotBytes   = 1 << 20   // so many bytes of messages with a record are in memory, about
	loadBytes  = 256 << 10 // so many are loaded at a time
	minFree    = 16 << 20  // so many stay free on the disk
	maxPending = 1 << 20   // messages are not taken while eight times as many wait for the disk
	segment    = 8 << 20

	openTimeout      = 30 * time.Second
	pressureInterval = time.Second
)

// token is what waits for records to be durable.
type token struct {
	kind   tokenKind
	reason mqtt.ReasonCode
	id     uint16
	n      uint64 // tokenBarrier: of the machine; tokenAck: the session
	k      *conn
	done   chan struct{}
}

type tokenKind uint8

const (
	tokenNone    tokenKind = iota
	tokenBarrier           // let the machine of k go on
	tokenAck               // acknowledge the QoS 2 message id
)

// openStore opens the directory and makes what is in it the client's.
func (c *Client) openStore() error {
	o := c.o
	size := o.segment
	if size == 0 {
		size = segment
	}
	j, err := journal.Open[token](o.Dir, &journal.Options{
		FS: o.fs, SegmentSize: size, NoSync: o.NoSync, MinFree: minFree, MaxPending: maxPending, Kind: "mqttclient", Logger: o.Logger,
	})
	if errors.Is(err, journal.ErrLocked) {
		err = fmt.Errorf("%w: %w", ErrDirInUse, err)
	}
	if err != nil {
		return &StorageError{Dir: o.Dir, Err: err}
	}
	c.store = &store{c: c, j: j, live: make(map[uint64]uint32)}
	if err := c.restore(); err != nil {
		j.Close()
		return err
	}
	err = j.Start(journal.Handler[token]{
		Complete: c.persisted, Checkpoint: c.checkpoint, Keep: c.store.keep, Pressure: c.pressed,
	})
	if err == nil {
		err = c.own()
	}
	if err != nil {
		j.Close()
		return &StorageError{Dir: o.Dir, Err: err}
	}
	return nil
}

// own makes sure that the client identifier is in the directory.
func (c *Client) own() error {
	s := c.store
	c.mu.Lock()
	if s.owner == 0 {
		rec := record{kind: recordOwner, data: []byte(c.o.ClientID)}
		s.head = rec.appendTo(s.head[:0])
		s.owner = s.j.Append(s.head, nil, len(s.head))
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	return s.j.Sync(ctx)
}

// identify chooses the client identifier, given the one in the directory, if there is one.
func (c *config) identify(stored string) error {
	switch {
	case stored == "" && c.ClientID == "":
		c.ClientID = rand.Text()[:22]
	case stored == "":
	case c.ClientID == "":
		c.ClientID = stored
	case c.ClientID != stored:
		return &ClientIDError{Dir: c.Dir, Stored: stored, Given: c.ClientID}
	}
	return nil
}

// full reports whether the disk has no room for another message. The nil store has.
func (s *store) full() bool { return s != nil && s.j.Pressure() == journal.Full }

// pressed is called by the journal when it has more or less room.
func (c *Client) pressed(p journal.Pressure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p != journal.Full {
		c.out.wakeAll()
	}
}

// note appends a record that a checkpoint makes unnecessary. When nothing waits for it, it is written with the next one.
func (s *store) note(r record, t token) {
	if s.over {
		return
	}
	s.head = r.appendTo(s.head[:0])
	var seq uint64
	if t.kind == tokenNone {
		seq = s.j.Append(s.head, nil, 0)
	} else {
		seq = s.j.AppendAwait(s.head, nil, 0, t)
	}
	if s.dirty == 0 {
		s.dirty = seq
	}
}

// message records a message that is accepted.
func (s *store) message(p *Publication) {
	s.head = appendMessage(s.head[:0], p)
	n := len(s.head) + len(p.pub.Payload)
	p.seq = s.j.AppendAwait(s.head, p.pub.Payload, n, token{})
	s.live[p.seq] = uint32(n)
	s.hot += p.size()
	s.last = p
}

// release takes back the body of a message that nobody needs any more.
func (s *store) release(p *Publication) {
	if p.seq == 0 || s.over {
		return
	}
	s.j.Release(p.seq, int(s.live[p.seq]))
	delete(s.live, p.seq)
	s.chill(p)
	p.seq = 0
}

// dropped records that p is not sent.
func (s *store) dropped(p *Publication) {
	if p.seq != 0 {
		s.note(record{kind: recordDropped, seq: p.seq}, token{})
		s.release(p)
	}
}

// assigned records that p is in flight with a packet identifier.
func (s *store) assigned(p *Publication, id uint16, t token) {
	s.note(record{kind: recordAssigned, id: id, qos: p.pub.QoS, seq: p.seq}, t)
}

// settled records that a packet identifier is done.
func (s *store) settled(p *Publication, id uint16) {
	s.note(record{kind: recordSettled, id: id}, token{})
	s.release(p)
}

// received records that a QoS 2 message of the server was taken, which is acknowledged when that is durable.
func (s *store) received(id uint16, reason mqtt.ReasonCode) {
	s.inbound.Add(id)
	s.note(record{kind: recordReceived, id: id}, token{kind: tokenAck, id: id, reason: reason, n: s.c.epoch})
}

// begun records that the server began a new session: what was in flight waits again at QoS 1 and is over at QoS 2.
func (s *store) begun() {
	s.session = true
	s.inbound.Reset()
	s.note(record{kind: recordBegun}, token{})
}

// persist records the delta of an EventPersist.
func (k *conn) persist(e *mqtt.Event) {
	s := k.c.store
	t := token{kind: tokenBarrier, k: k, n: e.Token}
	switch e.Delta {
	case mqtt.DeltaAssigned:
		s.assigned(e.Ref.(*Publication), e.ID, t)
	case mqtt.DeltaPubrec:
		s.note(record{kind: recordPubrec, id: e.ID}, t)
		s.release(e.Ref.(*Publication))
	case mqtt.DeltaReleased:
		s.inbound.Remove(e.ID)
		s.note(record{kind: recordReleased, id: e.ID}, t)
	}
}

// persisted is called by the journal when records are durable, or never will be.
func (c *Client) persisted(tokens []token, o journal.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o != journal.Done {
		c.storageFailed(c.store.failure())
	}
	var barrier *token
	for i := range tokens {
		t := &tokens[i]
		switch {
		case t.done != nil:
			close(t.done)
		case o != journal.Done || c.closed:
		case t.kind == tokenBarrier && t.k == c.conn:
			barrier = t // includes those before
		case t.kind == tokenAck && t.n == c.epoch:
			c.last.sess.Ack(time.Now(), t.id, t.reason, nil)
			c.last.events()
		}
	}
	k := c.conn
	if k == nil || c.closed {
		return
	}
	if barrier != nil {
		k.sess.Persisted(time.Now(), barrier.n)
		k.events()
	}
	c.sendQueued()
	k.kick()
	k.arm()
}

// failure returns why the journal has failed.
func (s *store) failure() error {
	if err := s.j.Sync(context.Background()); err != nil { // at once
		return err
	}
	return journal.ErrClosed
}

// storageFailed ends the client, because nothing can be promised any more. The connection is cut, so that the server
// keeps the session and publishes the will message. c.mu is held.
func (c *Client) storageFailed(err error) {
	if c.closed {
		return
	}
	e := &StorageError{Dir: c.o.Dir, Err: err}
	if c.conn != nil {
		c.conn.fail(e)
	}
	c.shut(e)
	go func() { // not from within a call of the journal
		c.o.Logger.Error("storage failed, giving up", "err", err)
		c.store.close()
	}()
}

// finish ends what is recorded: what is in the directory now waits there for the next client. c.mu is held.
func (s *store) finish() {
	if s != nil && !s.over {
		s.final = s.snapshot()
		s.over = true
	}
}

// close gives the directory back, once everything is written. The nil store has nothing to do.
func (s *store) close() error {
	if s == nil {
		return nil
	}
	s.closing.Do(func() {
		if err := s.j.Close(); err != nil {
			s.err = &StorageError{Dir: s.c.o.Dir, Err: err}
		}
	})
	return s.err
}

// await waits until everything recorded so far is durable, p has ended, or ctx.
func (s *store) await(ctx context.Context, p *Publication) {
	done := make(chan struct{})
	s.j.Await(token{done: done})
	select {
	case <-done:
	case <-p.Done():
	case <-ctx.Done():
	}
}

// snapshot returns a checkpoint. c.mu is held.
func (s *store) snapshot() []byte {
	var x snapshot
	x.session = s.session
	for o := range s.c.state.Outbound() {
		p := o.Ref.(*Publication)
		if p.seq != 0 || o.Released {
			x.flights = append(x.flights, flight{seq: p.seq, id: o.ID, qos: o.QoS, released: o.Released})
		}
	}
	for _, l := range append([]*lane{&s.c.out.lane}, s.c.out.others.order...) {
		for i := range l.queue.Len() {
			if p := l.queue.At(i); p.seq != 0 {
				x.waiting = append(x.waiting, p.seq)
			}
		}
	}
	for id := range s.inbound.All() {
		x.inbound = append(x.inbound, id)
	}
	return x.appendTo(nil)
}

// checkpoint is called by the journal before records below a number are thrown away.
func (c *Client) checkpoint(below uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.store
	if s.dirty == 0 || s.dirty >= below {
		return
	}
	data := s.final
	if !s.over {
		data = s.snapshot()
	}
	if s.check != 0 {
		s.j.Release(s.check, s.checked)
	}
	rec := record{kind: recordCheckpoint, data: data}
	s.head = rec.appendTo(s.head[:0])
	s.checked = len(s.head)
	s.check = s.j.Append(s.head, nil, s.checked)
	s.dirty = 0
}

// keep says what is to become of a record.
func (s *store) keep(seq uint64, b []byte) journal.Verdict {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if _, needed := s.live[seq]; needed || seq == s.owner || seq == s.check {
		return journal.Keep
	}
	return journal.Drop
}
