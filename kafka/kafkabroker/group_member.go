package kafkabroker

import (
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// joinGroup takes a client into a group. It is answered when the generation has its members.
func (s *session) joinGroup(r *kafkaserver.Request) {
	var req kafkawire.JoinGroupRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	refuse := func(code kafkawire.ErrorCode, memberID string) {
		answerMember(r, &kafka.GroupEvent{Kind: kafka.GroupJoinReply, Error: code, Generation: -1, MemberID: memberID})
	}
	group := string(req.GroupID)
	switch {
	case !s.allowed(opRead, resourceGroup, group):
		refuse(kafkawire.ErrGroupAuthorizationFailed, "")
		return
	case group == "":
		refuse(kafkawire.ErrInvalidGroupID, req.MemberID)
		return
	case len(r.Body) > maxJoin:
		refuse(kafkawire.ErrInvalidRequest, req.MemberID)
		return
	}
	sh, code := s.groupShard(group)
	if code != noError {
		refuse(code, req.MemberID)
		return
	}
	now := time.Now()
	j := kafka.GroupJoin{
		MemberID: req.MemberID, InstanceID: text(req.GroupInstanceID), ClientID: r.ClientID, ClientHost: clientHost(s.conn),
		SessionTimeout: millis(req.SessionTimeoutMs), RebalanceTimeout: millis(req.RebalanceTimeoutMs), ProtocolType: req.ProtocolType,
		Protocols: req.Protocols, KnowsIDRequired: r.Version >= 4, KnowsSkip: r.Version >= 9,
	}
	if r.Version == 0 {
		j.RebalanceTimeout = -1
	}
	if j.MemberID == "" {
		j.NewMemberID = newMemberID(&j)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.group(group)
	switch {
	case sh.dead:
		refuse(kafkawire.ErrNotCoordinator, req.MemberID)
		return
	case e == nil && req.MemberID != "":
		refuse(kafkawire.ErrUnknownMemberID, req.MemberID)
		return
	}
	if e == nil {
		e = sh.makeGroup(now, group)
	}
	j.Token = sh.wait(s, r)
	e.m.Join(now, &j)
	r.DropBody() // it may wait, and the group has copies
	sh.drain(e)
	if e.m.Fresh() && len(e.offsets) == 0 && len(e.pending) == 0 {
		delete(sh.groups, e.id) // the request was refused
	}
}

// maxJoin bounds the size of a JoinGroup. A group keeps what its members say, and all of that must have room in a record.
const maxJoin = 2 << 20

// maxMemberName bounds what the id of a member has of a client's name, so that it is short enough for a message.
const maxMemberName = 1000

// newMemberID returns the id that a client gets.
func newMemberID(j *kafka.GroupJoin) string {
	var u [16]byte
	rand.Read(u[:])
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	name := j.InstanceID
	if name == "" {
		name = j.ClientID
	}
	if len(name) > maxMemberName {
		name = strings.ToValidUTF8(name[:maxMemberName], "")
	}
	return fmt.Sprintf("%s-%x-%x-%x-%x-%x", name, u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func millis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

// text returns what may be null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// clientHost is where a client is, as Java writes addresses.
func clientHost(c *kafkaserver.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		host = c.RemoteAddr().String()
	}
	return "/" + host
}

// answerMember answers JoinGroup or SyncGroup.
func answerMember(r *kafkaserver.Request, e *kafka.GroupEvent) {
	if r == nil {
		return
	}
	if e.Kind == kafka.GroupSyncReply {
		resp := kafkawire.SyncGroupResponse{ErrorCode: e.Error, Assignment: e.Assignment}
		if resp.Assignment == nil {
			resp.Assignment = []byte{}
		}
		if e.Error == 0 {
			resp.ProtocolType, resp.ProtocolName = &e.ProtocolType, &e.Protocol
		}
		r.Reply(&resp)
		return
	}
	resp := kafkawire.JoinGroupResponse{
		ErrorCode: e.Error, GenerationID: e.Generation, ProtocolName: &e.Protocol, Leader: e.Leader, MemberID: e.MemberID,
		SkipAssignment: e.SkipAssignment, Members: e.Members,
	}
	switch {
	case e.Error == 0:
		resp.ProtocolType = &e.ProtocolType
	case r.Version >= 7:
		resp.ProtocolName = nil
	}
	r.Reply(&resp)
}

// syncGroup asks for a member's assignment. It is answered when the leader's is durable.
func (s *session) syncGroup(r *kafkaserver.Request) {
	var req kafkawire.SyncGroupRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	refuse := func(code kafkawire.ErrorCode) {
		answerMember(r, &kafka.GroupEvent{Kind: kafka.GroupSyncReply, Error: code})
	}
	if r.Version >= 5 && (req.ProtocolType == nil || req.ProtocolName == nil) {
		refuse(kafkawire.ErrInconsistentGroupProtocol)
		return
	}
	sh, code := s.memberShard(string(req.GroupID))
	if code != noError {
		refuse(code)
		return
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.group(string(req.GroupID))
	if e == nil {
		refuse(kafkawire.ErrUnknownMemberID)
		return
	}
	e.m.Sync(time.Now(), &kafka.GroupSync{
		Token: sh.wait(s, r), MemberID: req.MemberID, InstanceID: text(req.GroupInstanceID), Generation: req.GenerationID,
		ProtocolType: req.ProtocolType, Protocol: req.ProtocolName, Assignments: req.Assignments,
	})
	r.DropBody() // it may wait, and the group has copies
	sh.drain(e)
}

// memberShard returns the shard of a group for a member of it.
func (s *session) memberShard(group string) (*groupShard, kafkawire.ErrorCode) {
	if !s.allowed(opRead, resourceGroup, group) {
		return nil, kafkawire.ErrGroupAuthorizationFailed
	}
	if group == "" {
		return nil, kafkawire.ErrInvalidGroupID
	}
	return s.groupShard(group)
}

// heartbeat keeps a member alive.
func (s *session) heartbeat(r *kafkaserver.Request) {
	var req kafkawire.HeartbeatRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	sh, code := s.memberShard(string(req.GroupID))
	if code == noError {
		code = sh.heartbeat(&req)
	}
	r.Reply(&kafkawire.HeartbeatResponse{ErrorCode: code})
}

func (s *groupShard) heartbeat(req *kafkawire.HeartbeatRequest) kafkawire.ErrorCode {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.group(string(req.GroupID))
	if e == nil {
		return kafkawire.ErrUnknownMemberID
	}
	code := e.m.Heartbeat(time.Now(), req.MemberID, text(req.GroupInstanceID), req.GenerationID)
	s.drain(e)
	return code
}

// leaveGroup takes members out of a group.
func (s *session) leaveGroup(r *kafkaserver.Request) {
	var req kafkawire.LeaveGroupRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	list := req.Members
	if r.Version < 3 {
		list = []kafkawire.LeaveGroupRequestMember{{MemberID: req.MemberID}}
	}
	sh, code := s.memberShard(string(req.GroupID))
	if code != noError {
		r.Reply(&kafkawire.LeaveGroupResponse{ErrorCode: code})
		return
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	codes := make([]kafkawire.ErrorCode, len(list))
	if e := sh.group(string(req.GroupID)); e != nil {
		codes = e.m.Leave(time.Now(), list)
		sh.drain(e)
	} else {
		for i := range codes {
			codes[i] = kafkawire.ErrUnknownMemberID
		}
	}
	resp := new(kafkawire.LeaveGroupResponse)
	if r.Version < 3 {
		resp.ErrorCode = codes[0]
	} else {
		for i := range list {
			m := kafkawire.LeaveGroupResponseMember{MemberID: strings.Clone(list[i].MemberID), ErrorCode: codes[i]}
			if id := list[i].GroupInstanceID; id != nil {
				m.GroupInstanceID = new(strings.Clone(*id))
			}
			resp.Members = append(resp.Members, m)
		}
	}
	sh.after(func(err error) {
		if err != nil {
			resp = &kafkawire.LeaveGroupResponse{ErrorCode: groupCode(err)}
		}
		r.Reply(resp)
	})
}
