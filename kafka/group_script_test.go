package kafka

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/internal/script"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestGroupScripts runs the scripts of testdata/group. A script drives one group; the output has what the command returned
// and every event. Members are named by their ids, requests are numbered. Records are durable at
// once unless the script says "hold".
func TestGroupScripts(t *testing.T) {
	script.Run(t, "testdata/group/*.txt", func(t *testing.T) func(*script.Command) string {
		return (&scriptedGroup{t: t, now: time.Unix(1_700_000_000, 0)}).do
	})
}

type scriptedGroup struct {
	t    *testing.T
	g    *Group
	o    GroupOptions
	now  time.Time
	out  strings.Builder
	hold bool

	requests uint64
	last     *kafkawire.GroupMetadataValue
}

func (s *scriptedGroup) do(c *script.Command) string {
	s.out.Reset()
	if s.g == nil {
		s.o.InitialRebalanceDelay = -1
	}
	token := s.requests + 1
	generation := func() int32 {
		def := 0
		if s.g != nil {
			def = int(s.g.Generation())
		}
		return int32(c.Int(s.t, "generation", def))
	}
	id, instance := c.String("id", ""), c.String("instance", "")
	switch c.Name {
	case "new":
		s.o.InitialRebalanceDelay = c.Duration(s.t, "delay", -1)
		s.o.MaxSize = c.Int(s.t, "max", 0)
		s.o.MaxPending = c.Int(s.t, "pending", 0)
		s.g = NewGroup(s.now, "g", &s.o)
	case "after":
		s.after(c.Duration(s.t, "d", 0))
	case "join":
		s.requests++
		s.g.Join(s.now, s.join(c, token, id, instance))
	case "sync":
		s.requests++
		r := &GroupSync{Token: token, MemberID: id, InstanceID: instance, Generation: generation()}
		if c.Has("protocol") {
			r.Protocol = new(c.String("protocol", ""))
		}
		if c.Has("type") {
			r.ProtocolType = new(c.String("type", ""))
		}
		for line := range strings.Lines(c.Input) {
			member, assignment, _ := strings.Cut(strings.TrimSpace(line), " ")
			r.Assignments = append(r.Assignments, kafkawire.SyncGroupRequestAssignment{MemberID: member, Assignment: []byte(assignment)})
		}
		s.g.Sync(s.now, r)
	case "heartbeat":
		s.code(s.g.Heartbeat(s.now, id, instance, generation()))
	case "commit":
		s.code(s.g.CheckCommit(s.now, id, instance, generation(), c.Has("txn")))
	case "leave":
		var list []kafkawire.LeaveGroupRequestMember
		for line := range strings.Lines(c.Input) {
			id, instance, _ := strings.Cut(strings.TrimSpace(line), "@")
			list = append(list, kafkawire.LeaveGroupRequestMember{MemberID: id, GroupInstanceID: new(instance)})
		}
		for _, code := range s.g.Leave(s.now, list) {
			s.code(code)
		}
	case "rebalance":
		s.line("%v", s.g.Rebalance(s.now))
	case "hold":
		s.hold = true
	case "persisted":
		s.g.Persisted(s.now, uint64(c.Int(s.t, "token", 0)), kafkawire.ErrorCode(c.Int(s.t, "error", 0)))
	case "restore":
		s.o.MaxSize = c.Int(s.t, "max", s.o.MaxSize)
		s.g = RestoreGroup(s.now, "g", s.last, &s.o)
	case "close":
		s.g.Close(s.now, kafkawire.ErrNotCoordinator)
	case "describe":
		s.describe()
	default:
		s.t.Fatalf("line %d: unknown command %s", c.Line, c.Name)
	}
	s.events()
	return s.out.String()
}

// after lets time pass.
func (s *scriptedGroup) after(d time.Duration) {
	end := s.now.Add(d)
	for at := s.g.Timeout(); !at.IsZero() && !at.After(end); at = s.g.Timeout() {
		s.now = at
		before := s.out.Len()
		s.g.Advance(at)
		s.events()
		if s.out.Len() > before {
			s.line("(%v before the end)", end.Sub(at))
		}
		if next := s.g.Timeout(); !next.IsZero() && !next.After(at) {
			s.t.Fatalf("busy at %v", at)
		}
	}
	s.now = end
	s.g.Advance(end)
}

func (s *scriptedGroup) join(c *script.Command, token uint64, id, instance string) *GroupJoin {
	version := c.Int(s.t, "version", 9)
	r := &GroupJoin{
		Token: token, MemberID: id, NewMemberID: c.String("new", ""), InstanceID: instance, ClientID: "client", ClientHost: "/host",
		SessionTimeout: c.Duration(s.t, "session", 10*time.Second), RebalanceTimeout: c.Duration(s.t, "rebalance", 60*time.Second),
		ProtocolType: c.String("type", "consumer"), KnowsIDRequired: version >= 4, KnowsSkip: version >= 9,
	}
	for p := range strings.SplitSeq(c.String("protocols", "range"), ",") {
		name, metadata, _ := strings.Cut(p, ":")
		if name != "" {
			r.Protocols = append(r.Protocols, kafkawire.JoinGroupRequestProtocol{Name: name, Metadata: []byte(metadata)})
		}
	}
	return r
}

func (s *scriptedGroup) line(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

func (s *scriptedGroup) code(code kafkawire.ErrorCode) {
	if code == 0 {
		s.line("ok")
		return
	}
	s.line("%v", code)
}

func (s *scriptedGroup) describe() {
	s.line("%v generation %d type=%q protocol=%q leader=%q pending=%d", s.g.State(), s.g.Generation(), s.g.ProtocolType(),
		s.g.Protocol(), s.g.Leader(), s.g.Pending())
	for _, m := range s.g.Members() {
		s.line("%s%s %q %q", m.MemberID, at(m.GroupInstanceID), m.MemberMetadata, m.MemberAssignment)
	}
}

func at(instance *string) string {
	if instance == nil {
		return ""
	}
	return "@" + *instance
}

// events prints what the group wants.
func (s *scriptedGroup) events() {
	if s.g == nil {
		return
	}
	for e, ok := s.g.Next(); ok; e, ok = s.g.Next() {
		switch {
		case e.Kind == GroupPersist:
			s.record(&e)
		case e.Error != 0:
			s.line("%s #%d: %v id=%q", kindName(e.Kind), e.Token, e.Error, e.MemberID)
		case e.Kind == GroupSyncReply:
			s.line("sync #%d: %q %s/%s", e.Token, e.Assignment, e.ProtocolType, e.Protocol)
		default:
			var members []string
			for _, m := range e.Members {
				members = append(members, fmt.Sprintf("%s%s:%s", m.MemberID, at(m.GroupInstanceID), m.Metadata))
			}
			skip := ""
			if e.SkipAssignment {
				skip = " skip"
			}
			s.line("join #%d: generation %d id=%s leader=%s %s/%s members=%v%s", e.Token, e.Generation, e.MemberID, e.Leader,
				e.ProtocolType, e.Protocol, members, skip)
		}
	}
}

func kindName(k GroupEventKind) string {
	if k == GroupJoinReply {
		return "join"
	}
	return "sync"
}

func (s *scriptedGroup) record(e *GroupEvent) {
	v := e.Record
	s.last = v
	protocol, leader := "null", "null"
	if v.Protocol != nil {
		protocol, leader = *v.Protocol, *v.Leader
	}
	var members []string
	for _, m := range v.Members {
		members = append(members, fmt.Sprintf("%s%s:%s=%s", m.MemberID, at(m.GroupInstanceID), m.Subscription, m.Assignment))
	}
	s.line("record %d: type=%q generation %d protocol=%s leader=%s %v", e.Token, v.ProtocolType, v.Generation, protocol, leader, members)
	if !s.hold {
		s.g.Persisted(s.now, e.Token, 0)
	}
}
