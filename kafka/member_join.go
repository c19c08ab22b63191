package kafka

import (
	"errors"
	"slices"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// ErrPollInterval is the reason for which a member that does not come for records loses its partitions.
var ErrPollInterval = errors.New("kafka: the time between two polls was longer than the maximum, so the consumer left its group")

// step goes on with what the member needs to do, as far as nothing is to be waited for.
func (m *Member) step(now time.Time) {
	if m.waiting > 0 || m.failed || !m.retryAt.IsZero() || !m.wanted || !m.named {
		return
	}
	switch m.state {
	case memberOut:
	case memberStable, memberYielding:
		if !m.rejoin {
			m.state = memberStable
			return
		}
	default:
		return
	}
	if !m.yielded {
		m.state = memberYielding
		switch {
		case m.generation < 0 || m.id == "":
			m.takeBack(m.owned, true, nil)
		case m.cooperative:
			m.takeBack(slices.DeleteFunc(slices.Clone(m.owned), func(p TopicPartition) bool {
				_, wanted := slices.BinarySearch(m.topics, string(p.Topic))
				return wanted
			}), false, nil)
		default:
			m.takeBack(m.owned, false, nil)
		}
		if m.waiting > 0 {
			return
		}
		m.yielded = true
	}
	if m.generation < 0 && len(m.owned) > 0 {
		m.takeBack(m.owned, true, nil) // the group has forgotten the member meanwhile
		return
	}
	m.sendJoin(now)
}

// sendJoin sends JoinGroup with everything that the leader needs to know.
func (m *Member) sendJoin(now time.Time) {
	m.joined = m.topics
	sub := kafkawire.ConsumerProtocolSubscription{Topics: m.topics, GenerationID: m.generation}
	if m.o.Rack != "" {
		sub.RackID = &m.o.Rack
	}
	for i, p := range m.owned {
		if i == 0 || m.owned[i-1].Topic != p.Topic {
			sub.OwnedPartitions = append(sub.OwnedPartitions, kafkawire.ConsumerProtocolSubscriptionOwnedPartition{Topic: p.Topic})
		}
		t := &sub.OwnedPartitions[len(sub.OwnedPartitions)-1]
		t.Partitions = append(t.Partitions, p.Partition)
	}
	r := &kafkawire.JoinGroupRequest{
		GroupID: m.o.GroupID, MemberID: m.id, GroupInstanceID: m.instance(), ProtocolType: "consumer",
		SessionTimeoutMs: int32(m.o.SessionTimeout.Milliseconds()), RebalanceTimeoutMs: int32(m.o.MaxPollInterval.Milliseconds()),
		Reason: new(m.reason[:min(len(m.reason), 255)]),
	}
	for _, a := range m.o.Assignors {
		sub.UserData = a.UserData(m.last, m.lastGeneration)
		metadata, err := kafkawire.AppendVersioned(nil, &sub, 3)
		if err != nil {
			m.fail(err)
			return
		}
		r.Protocols = append(r.Protocols, kafkawire.JoinGroupRequestProtocol{Name: a.Name(), Metadata: metadata})
	}
	m.rejoin, m.leader = false, false
	m.state = memberJoining
	m.current = m.send(r)
}

// fail gives up until Retry.
func (m *Member) fail(err error) {
	if m.state != memberGone {
		m.state = memberOut
	}
	m.failed, m.rejoin = true, true
	m.emit(MemberEvent{Kind: MemberFailed, Err: err})
}

// again sends the request that failed again after a while.
func (m *Member) again(now time.Time) {
	m.state, m.rejoin, m.current = memberOut, true, 0
	if m.generation >= 0 {
		m.state = memberYielding
	}
	m.failures++
	m.retryAt = now.Add(m.o.Backoff << min(m.failures-1, 4))
}

// anew begins the rebalance anew without a delay.
func (m *Member) anew(now time.Time) {
	m.state, m.rejoin, m.current = memberOut, true, 0
	if m.generation >= 0 {
		m.state = memberYielding
	}
	m.step(now)
}

// Receive takes the response to the request of a token, or the error for which there is none. Responses that are not waited
// for any more are passed over.
func (m *Member) Receive(now time.Time, token uint64, r kafkawire.Response, err error) {
	if token == m.beating && token != 0 {
		m.beating = 0
		m.beatAt = now.Add(m.o.HeartbeatInterval)
		code := kafkawire.ErrUnknownServerError
		if h, ok := r.(*kafkawire.HeartbeatResponse); ok && err == nil {
			code = h.ErrorCode
		}
		m.beaten(now, code, err)
		return
	}
	if token != m.current || token == 0 || m.state == memberGone {
		return
	}
	switch r := r.(type) {
	case *kafkawire.JoinGroupResponse:
		if m.state == memberJoining && err == nil {
			m.joinAnswered(now, r)
			return
		}
	case *kafkawire.SyncGroupResponse:
		if m.state == memberSyncing && err == nil {
			m.syncAnswered(now, r)
			return
		}
	}
	if m.state == memberJoining || m.state == memberSyncing {
		m.requestFailed(now, 0, err)
	}
}

func (m *Member) joinAnswered(now time.Time, r *kafkawire.JoinGroupResponse) {
	switch code := r.ErrorCode; code {
	case 0:
		if r.ProtocolType != nil && *r.ProtocolType != "consumer" || r.ProtocolName == nil {
			m.fail(&Error{Code: kafkawire.ErrInconsistentGroupProtocol, Text: "the group has another type of members"})
			return
		}
		m.failures = 0
		m.id, m.generation, m.protocol = r.MemberID, r.GenerationID, *r.ProtocolName
		m.beatAt = now.Add(m.o.HeartbeatInterval)
		if m.leader = r.Leader == r.MemberID; m.leader {
			m.lead(now, r)
		} else {
			m.group, m.layouts = nil, nil
			m.sendSync(nil)
		}
	case kafkawire.ErrMemberIDRequired:
		m.id, m.generation, m.protocol = r.MemberID, -1, ""
		m.reason = "need to re-join with the given member-id: " + r.MemberID
		m.anew(now)
	case kafkawire.ErrUnknownMemberID, kafkawire.ErrIllegalGeneration:
		m.forgotten(now, code)
	default:
		m.requestFailed(now, code, nil)
	}
}

// requestFailed decides about JoinGroup and SyncGroup requests that failed with a code, or without a response.
func (m *Member) requestFailed(now time.Time, code kafkawire.ErrorCode, err error) {
	switch {
	case code == kafkawire.ErrRebalanceInProgress:
		m.wantRejoin("rebalance failed due to RebalanceInProgressException")
		m.anew(now)
	case code == kafkawire.ErrFencedInstanceID:
		m.fenced()
	case code == 0 && err != nil && permanent(err):
		m.fail(err)
	case code == 0 || code.Retriable() || code.CoordinatorMoved():
		m.wantRejoin("rebalance failed due to a retriable error")
		m.again(now)
	default:
		m.fail(&Error{Code: code, Remote: true})
	}
}

// permanent reports whether a request fails for a reason that stays.
func permanent(err error) bool {
	if code, ok := errors.AsType[kafkawire.ErrorCode](err); ok {
		return !code.Retriable()
	}
	_, ok := errors.AsType[*kafkawire.Error](err) // it cannot be encoded, or the response makes no sense
	return ok
}

// forgotten joins as a new member: the coordinator does not know this one or its generation.
func (m *Member) forgotten(now time.Time, code kafkawire.ErrorCode) {
	m.reset(code != kafkawire.ErrIllegalGeneration)
	m.wantRejoin("encountered " + code.String())
	m.step(now)
}

// fenced ends the member: another one has its instance id.
func (m *Member) fenced() {
	m.reset(true)
	m.state = memberGone
	m.takeBack(m.owned, true, nil)
	m.fail(&Error{Code: kafkawire.ErrFencedInstanceID, Text: "another consumer has the instance id", Remote: true})
}

// beaten takes what came of a heartbeat.
func (m *Member) beaten(now time.Time, code kafkawire.ErrorCode, err error) {
	if m.beatFrom != m.generation {
		return // of a generation that is over
	}
	switch {
	case err != nil:
		m.beatAt = now.Add(m.o.Backoff)
	case code == 0:
	case code == kafkawire.ErrRebalanceInProgress:
		if m.state == memberStable {
			m.wantRejoin("group is already rebalancing")
			m.step(now)
		}
	case code == kafkawire.ErrUnknownMemberID, code == kafkawire.ErrIllegalGeneration:
		if m.state != memberJoining { // else the response to that may have come first to the coordinator, and tells
			m.forgotten(now, code)
		}
	case code == kafkawire.ErrFencedInstanceID:
		m.fenced()
	case code.Retriable() || code.CoordinatorMoved():
		m.beatAt = now.Add(m.o.Backoff)
	default:
		m.beatAt = now.Add(m.o.HeartbeatInterval)
		m.emit(MemberEvent{Kind: MemberFailed, Err: &Error{Code: code, Remote: true}})
	}
}
