package kafkatest

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Faults decide what happens to requests on their way into a broker. Rules may be added and removed while it runs. The zero
// value does nothing. It is safe for concurrent use.
type Faults struct {
	mu      sync.Mutex
	rules   []*rule
	refuse  map[int32]int // of each node; negative: all
	conns   map[*faultyConn]struct{}
	watcher func(*Request)
	limits  map[kafkawire.APIKey]int16
}

type rule struct {
	Rule
	hits int
	over bool
}

// Rule says which requests a fault hits, and what it does to them. Of several rules that fit a request the one added first
// holds.
type Rule struct {
	// Keys are the kinds of requests; none means every kind but APIVersions.
	Keys []kafkawire.APIKey

	// Node is the broker; zero means every one.
	Node int32

	// ClientID is who sends it; empty means everybody.
	ClientID string

	// Match, when it is not nil, looks closer.
	Match func(r *Request) bool

	// Skip is how many of these requests pass before the rule begins.
	Skip int

	// Times is how many requests the rule hits; zero means all from then on.
	Times int

	// Do is what happens to them: [Fail], [Delay], [Cut], [Lose], [Change], [ChangeReply] or one's own.
	Do Effect
}

// Request is a request on its way into a broker.
type Request struct {
	Node     int32
	Key      kafkawire.APIKey
	Version  int16
	ClientID string

	// Message is the request. It is nil when it cannot be decoded.
	Message kafkawire.Request
}

// Effect decides about a request. It is called with no lock held, and must not wait.
type Effect func(r *Request) Result

// Result is what becomes of a request. The zero Result lets it pass.
type Result struct {
	// Delay is how long it waits, with the requests behind it on its connection.
	Delay time.Duration

	// Cut closes the connection instead. Lose never answers, and so nothing behind it.
	Cut, Lose bool

	// Reply is the answer in place of the broker's.
	Reply kafkawire.Response

	// Changed is the request in place of the one that came.
	Changed kafkawire.Request

	// ChangeReply, when it is not nil, may change the answer of the broker before it leaves.
	ChangeReply func(kafkawire.Response)

	// CutReply lets the broker do what it was asked for, and closes the connection in place of the answer.
	CutReply bool
}

// Delay lets requests wait for a time.
func Delay(d time.Duration) Effect { return func(*Request) Result { return Result{Delay: d} } }

// Cut closes the connection: the request does not reach the broker.
func Cut(*Request) Result { return Result{Cut: true} }

// CutReply closes the connection after the broker has done what it was asked for: the client does not know.
func CutReply(*Request) Result { return Result{CutReply: true} }

// Lose never answers.
func Lose(*Request) Result { return Result{Lose: true} }

// Reply answers with a response in place of the broker.
func Reply(m kafkawire.Response) Effect { return func(*Request) Result { return Result{Reply: m} } }

// Fail answers with an error code, wherever the response has one: for each topic and partition of the request.
func Fail(code kafkawire.ErrorCode) Effect {
	return func(r *Request) Result { return Result{Reply: failure(r, code)} }
}

// Change changes requests before the broker gets them.
func Change(f func(kafkawire.Request)) Effect {
	return func(r *Request) Result {
		f(r.Message)
		return Result{Changed: r.Message}
	}
}

// ChangeReply changes answers before they leave.
func ChangeReply(f func(kafkawire.Response)) Effect {
	return func(*Request) Result { return Result{ChangeReply: f} }
}

// Add adds a rule and returns a function that tells how many requests it has hit.
func (f *Faults) Add(r Rule) (hits func() int) {
	x := &rule{Rule: r}
	f.mu.Lock()
	f.rules = append(f.rules, x)
	f.mu.Unlock()
	return func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return x.hits
	}
}

// Clear removes all rules, and lets connections in again.
func (f *Faults) Clear() {
	f.mu.Lock()
	f.rules, f.refuse = nil, nil
	f.mu.Unlock()
}

// Watch calls see with each request before the rules decide about it; nil ends that. See must not wait.
func (f *Faults) Watch(see func(*Request)) {
	f.mu.Lock()
	f.watcher = see
	f.mu.Unlock()
}

// LimitVersions makes the broker an older one for connections to come: it has no higher versions of the named requests than
// given, and with a negative one not the request at all.
func (f *Faults) LimitVersions(most map[kafkawire.APIKey]int16) {
	f.mu.Lock()
	f.limits = maps.Clone(most)
	f.mu.Unlock()
}

// Refuse refuses the next n connections to a node; a negative n refuses all, until Clear.
func (f *Faults) Refuse(node int32, n int) {
	f.mu.Lock()
	if f.refuse == nil {
		f.refuse = make(map[int32]int)
	}
	f.refuse[node] = n
	f.mu.Unlock()
}

// CutAll closes all connections to a node, or with zero to all nodes.
func (f *Faults) CutAll(node int32) {
	f.mu.Lock()
	var list []*faultyConn
	for c := range f.conns { // streams end with their connections
		if node == 0 || c.node == node {
			list = append(list, c)
		}
	}
	f.mu.Unlock()
	for _, c := range list {
		c.Close()
	}
}

var errRefused = errors.New("kafkatest: connection refused")

func (f *Faults) refused(node int32) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.refuse[node]
	if n == 0 {
		return nil
	}
	if n > 0 {
		f.refuse[node] = n - 1
	}
	return errRefused
}

// decide asks the rules.
func (f *Faults) decide(r *Request) Result {
	f.mu.Lock()
	watcher := f.watcher
	f.mu.Unlock()
	if watcher != nil {
		watcher(r)
	}
	f.mu.Lock()
	var do Effect
	for _, x := range f.rules {
		if x.over || x.Node != 0 && x.Node != r.Node || x.ClientID != "" && x.ClientID != r.ClientID {
			continue
		}
		if len(x.Keys) > 0 && !slices.Contains(x.Keys, r.Key) || x.Match != nil && (r.Message == nil || !x.Match(r)) {
			continue
		}
		if x.Skip > 0 {
			x.Skip--
			break
		}
		x.hits++
		x.over = x.Times > 0 && x.hits >= x.Times
		do = x.Do
		break
	}
	f.mu.Unlock()
	if do == nil {
		return Result{}
	}
	return do(r)
}

// backend returns a backend with the faults before it.
func (f *Faults) backend(node int32, b kafkaserver.Backend) kafkaserver.Backend {
	if f == nil {
		return b
	}
	x := &faultyBackend{Backend: b, f: f, node: node}
	if s, ok := b.(kafkaserver.SCRAM); ok {
		return &faultySCRAM{faultyBackend: x, SCRAM: s}
	}
	return x
}

type faultyBackend struct {
	kafkaserver.Backend
	f    *Faults
	node int32
}

type faultySCRAM struct {
	*faultyBackend
	kafkaserver.SCRAM
}

// APIs implements kafkaserver.Backend.
func (b *faultyBackend) APIs() *kafkaserver.APIs {
	apis := *b.Backend.APIs()
	b.f.mu.Lock()
	limits := b.f.limits
	b.f.mu.Unlock()
	if len(limits) == 0 {
		return &apis
	}
	apis.Versions = nil
	for _, v := range b.Backend.APIs().Versions {
		if most, ok := limits[v.Key]; ok {
			v.Max = min(v.Max, most)
		}
		if v.Max >= v.Min {
			apis.Versions = append(apis.Versions, v)
		}
	}
	return &apis
}

// Connect implements kafkaserver.Backend.
func (b *faultyBackend) Connect(c *kafkaserver.Conn) (kafkaserver.Session, error) {
	s, err := b.Backend.Connect(c)
	if err != nil {
		return nil, err
	}
	return b.session(s, c), nil
}

// faultySession hands requests on, in order.
type faultySession struct {
	kafkaserver.Session
	b *faultyBackend
	c *kafkaserver.Conn

	turn chan struct{} // has one element while the broker gets a request, or is told of the end, so that it gets none after that

	mu      sync.Mutex
	waiting []*kafkaserver.Request // behind one that is delayed
	delayed bool
	closed  bool
}

func (b *faultyBackend) session(s kafkaserver.Session, c *kafkaserver.Conn) *faultySession {
	return &faultySession{Session: s, b: b, c: c, turn: make(chan struct{}, 1)}
}

// Drain implements kafkaserver.Drainer.
func (s *faultySession) Drain() {
	if d, ok := s.Session.(kafkaserver.Drainer); ok {
		d.Drain()
	}
}

// Stream implements kafkaserver.Streamer: the broker's sessions do.
func (s *faultySession) Stream(id int64) (kafkaserver.Session, error) {
	x, err := s.Session.(kafkaserver.Streamer).Stream(id)
	if err != nil {
		return nil, err
	}
	return s.b.session(x, s.c), nil
}

// Handle implements kafkaserver.Session.
func (s *faultySession) Handle(r *kafkaserver.Request) {
	s.mu.Lock()
	if s.delayed {
		s.waiting = append(s.waiting, r)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	s.handle(r)
}

// Closed implements kafkaserver.Session.
func (s *faultySession) Closed(cause error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.mu.Lock()
	s.closed, s.waiting = true, nil
	s.mu.Unlock()
	s.Session.Closed(cause)
}

// handle asks the rules. It returns false when the request is delayed.
func (s *faultySession) handle(r *kafkaserver.Request) bool {
	q := &Request{Node: s.b.node, Key: r.Key, Version: r.Version, ClientID: r.ClientID, Message: kafkawire.NewRequest(r.Key)}
	if q.Message != nil && r.Decode(q.Message) != nil {
		q.Message = nil
	}
	result := s.b.f.decide(q)
	if result.Delay <= 0 {
		s.do(r, result)
		return true
	}
	s.mu.Lock()
	s.delayed = true
	s.mu.Unlock()
	time.AfterFunc(result.Delay, func() {
		s.do(r, result)
		for {
			s.mu.Lock()
			if len(s.waiting) == 0 || s.closed {
				s.delayed = false
				s.mu.Unlock()
				return
			}
			next := s.waiting[0]
			s.waiting = s.waiting[1:]
			s.mu.Unlock()
			if !s.handle(next) {
				return
			}
		}
	})
	return false
}

var errCut = errors.New("kafkatest: cut by a rule")

// do does to a request what was decided.
func (s *faultySession) do(r *kafkaserver.Request, result Result) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	switch {
	case closed:
		r.Fail(errCut)
		return
	case result.Cut:
		r.Fail(errCut)
		return
	case result.Lose:
		return
	case result.Reply != nil:
		r.Reply(result.Reply)
		return
	case result.Changed != nil:
		if b, err := result.Changed.Append(nil, r.Version); err == nil {
			r.Body = b
		}
	}
	if result.ChangeReply != nil || result.CutReply {
		s.b.f.expect(s.c, r, result)
	}
	s.Session.Handle(r)
}
