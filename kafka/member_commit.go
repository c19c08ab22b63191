package kafka

import (
	"errors"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// What becomes of commits of a member that is not what it was.
var (
	// ErrCommitFailed: the group has given the partitions to others, since the member was taken for dead or was too slow.
	// Records that were processed and not committed will be delivered again.
	ErrCommitFailed = errors.New("kafka: the group has rebalanced without this member; what was not committed comes again")

	// ErrRebalancing: the group rebalances. The commit can be tried again after the next poll, for partitions that are
	// still the member's.
	ErrRebalancing = errors.New("kafka: the group rebalances; poll, then commit again")
)

// MemberIdentity is with what a member commits.
type MemberIdentity struct {
	GroupID    kafkawire.GroupID
	MemberID   string
	Generation int32
	InstanceID string // empty for none
}

// Identity returns with what the member can commit now, or [ErrRebalancing] or [ErrCommitFailed] when it cannot.
func (m *Member) Identity() (MemberIdentity, error) {
	id := MemberIdentity{m.o.GroupID, m.id, m.generation, m.o.InstanceID}
	switch {
	case m.Rebalancing():
		return id, ErrRebalancing
	case !m.Stable():
		return id, ErrCommitFailed
	}
	return id, nil
}

// Committed takes the error code of a commit that was made with an identity, and returns what to tell of it. An error with
// a retriable code may go away by itself.
func (m *Member) Committed(now time.Time, id MemberIdentity, code kafkawire.ErrorCode) error {
	same := id.Generation == m.generation && id.MemberID == m.id
	switch code {
	case 0:
		return nil
	case kafkawire.ErrRebalanceInProgress:
		if same && m.state == memberStable {
			m.wantRejoin("offset commit failed since group is already rebalancing")
			m.step(now)
		}
		return ErrRebalancing
	case kafkawire.ErrUnknownMemberID, kafkawire.ErrIllegalGeneration:
		if m.state == memberJoining {
			return ErrRebalancing // the response to JoinGroup tells more
		}
		if same && m.state != memberGone {
			m.forgotten(now, code)
		}
		return ErrCommitFailed
	case kafkawire.ErrFencedInstanceID:
		if !same && m.state == memberJoining {
			return ErrRebalancing
		}
		if same {
			m.fenced()
		}
	}
	return &Error{Code: code, Remote: true}
}
