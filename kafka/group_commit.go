package kafka

import (
	"time"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// CheckCommit returns what is wrong with who wants to commit offsets, and keeps a member alive. transactional is for
// TxnOffsetCommit. A client that is not a member says -1 and empty ids; it may commit while the group is empty.
func (g *Group) CheckCommit(now time.Time, memberID, instanceID string, generation int32, transactional bool) kafkawire.ErrorCode {
	if g.state == GroupDead {
		return kafkawire.ErrCoordinatorNotAvailable
	}
	if generation < 0 && g.state == GroupEmpty {
		return 0
	}
	switch {
	case generation >= 0 || memberID != "" || instanceID != "":
		if code := g.check(memberID, instanceID); code != 0 {
			return code
		}
		if generation != g.generation {
			return kafkawire.ErrIllegalGeneration
		}
	case !transactional:
		return kafkawire.ErrUnknownMemberID
	default:
		return 0 // of versions that do not say who commits
	}
	if transactional {
		return 0
	}
	if g.state == GroupCompletingRebalance {
		// The member knows of the generation, so it will ask for its assignment soon.
		return kafkawire.ErrRebalanceInProgress
	}
	g.alive(now, g.members[memberID])
	return 0
}

// CheckDelete returns what is wrong with deleting the group.
func (g *Group) CheckDelete() kafkawire.ErrorCode {
	switch g.state {
	case GroupDead:
		return kafkawire.ErrGroupIDNotFound
	case GroupEmpty:
		return 0
	}
	return kafkawire.ErrNonEmptyGroup
}

// CheckOffsetDelete returns what is wrong with deleting offsets of the group. With members that are consumers the topics
// matter: see [Group.Subscribed].
func (g *Group) CheckOffsetDelete() kafkawire.ErrorCode {
	switch {
	case g.state == GroupDead:
		return kafkawire.ErrGroupIDNotFound
	case g.state != GroupEmpty && g.protocolType != consumerProtocol:
		return kafkawire.ErrNonEmptyGroup
	}
	return 0
}

const consumerProtocol = "consumer"

// Subscribed reports whether members of the group consume a topic. Of consumers that say what nobody understands it is
// assumed.
func (g *Group) Subscribed(topic string) bool {
	if !g.parsed {
		return g.protocolType == consumerProtocol
	}
	_, ok := g.topics[topic]
	return ok
}

// GroupRetention says from when on the offsets of a group count as unused.
type GroupRetention uint8

// The rules of retention.
const (
	// KeepOffsets is for groups in use.
	KeepOffsets GroupRetention = iota
	// RetainSinceEmpty counts from [Group.Since], which is when the last member left, or from the commit if that is unknown.
	RetainSinceEmpty
	// RetainSinceCommit counts from the commit.
	RetainSinceCommit
	// RetainUnsubscribed counts from the commit, and keeps offsets of topics for which [Group.Subscribed] is true.
	RetainUnsubscribed
)

// Retention returns the rule for the offsets of the group as it is.
func (g *Group) Retention() GroupRetention {
	switch {
	case g.protocolType == "":
		return RetainSinceCommit
	case g.state == GroupEmpty:
		return RetainSinceEmpty
	case g.state == GroupStable && g.protocolType == consumerProtocol && g.parsed:
		return RetainUnsubscribed
	}
	return KeepOffsets
}

// subscribe finds out what the members of a generation subscribe to.
func (g *Group) subscribe() {
	g.topics, g.parsed = nil, false
	if g.protocolType != consumerProtocol || g.protocol == "" && len(g.members) > 0 {
		return
	}
	topics := make(map[string]struct{})
	for _, m := range g.order {
		if !subscription(m.metadata(g.protocol), topics) {
			return
		}
	}
	g.topics, g.parsed = topics, true
}

// subscription adds the topics that a consumer wants. All versions begin with them, so the rest does not matter.
func subscription(b []byte, topics map[string]struct{}) bool {
	r := codec.NewReader(b)
	if version := r.Int16(); version < 0 {
		return false
	}
	n := int(r.Int32())
	if n < 0 || n > r.Len()/2 {
		return false
	}
	for range n {
		size := r.Int16()
		name := r.Bytes(int(size))
		if size < 0 || r.Err() != nil {
			return false
		}
		if _, ok := topics[string(name)]; !ok {
			topics[string(name)] = struct{}{}
		}
	}
	return r.Err() == nil
}
