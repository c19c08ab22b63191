package kafkaclient

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// throttles reports whether a response begins with a time in which the client is to send nothing, since the broker reads
// nothing from the connection meanwhile (KIP-219). Responses of older versions come when the time is over.
func throttles(key kafkawire.APIKey, version int16) bool {
	switch key {
	case kafkawire.KeyProduce, kafkawire.KeyAPIVersions, kafkawire.KeyCreateDelegationToken, kafkawire.KeyRenewDelegationToken,
		kafkawire.KeyExpireDelegationToken, kafkawire.KeyDescribeDelegationToken, kafkawire.KeyOffsetDelete:
		return false // it is elsewhere in them
	case kafkawire.KeySASLHandshake, kafkawire.KeySASLAuthenticate, kafkawire.KeyDescribeQuorum, kafkawire.KeyInitializeShareGroupState,
		kafkawire.KeyReadShareGroupState, kafkawire.KeyWriteShareGroupState, kafkawire.KeyDeleteShareGroupState,
		kafkawire.KeyReadShareGroupStateSummary:
		return false // there is none
	case kafkawire.KeyFetch:
		return version >= 8
	case kafkawire.KeyMetadata:
		return version >= 6
	case kafkawire.KeyOffsetCommit, kafkawire.KeyOffsetFetch:
		return version >= 4
	case kafkawire.KeyListOffsets, kafkawire.KeyJoinGroup, kafkawire.KeyCreateTopics, kafkawire.KeyOffsetForLeaderEpoch:
		return version >= 3
	case kafkawire.KeyFindCoordinator, kafkawire.KeyHeartbeat, kafkawire.KeyLeaveGroup, kafkawire.KeySyncGroup, kafkawire.KeyDescribeGroups,
		kafkawire.KeyListGroups, kafkawire.KeyDeleteTopics, kafkawire.KeyDescribeConfigs:
		return version >= 2
	case kafkawire.KeyDeleteRecords, kafkawire.KeyInitProducerID, kafkawire.KeyAddPartitionsToTxn, kafkawire.KeyAddOffsetsToTxn,
		kafkawire.KeyEndTxn, kafkawire.KeyTxnOffsetCommit, kafkawire.KeyDescribeACLs, kafkawire.KeyCreateACLs, kafkawire.KeyDeleteACLs,
		kafkawire.KeyAlterConfigs, kafkawire.KeyAlterReplicaLogDirs, kafkawire.KeyDescribeLogDirs, kafkawire.KeyCreatePartitions,
		kafkawire.KeyDeleteGroups:
		return version >= 1
	}
	return key >= kafkawire.KeyElectLeaders && key < kafkawire.KeyVote || key > kafkawire.KeyEndQuorumEpoch
}

// maxThrottle bounds what a broker may ask for at once.
const maxThrottle = time.Minute

// throttleOf is for how long a response asks the client to send nothing.
func throttleOf(key kafkawire.APIKey, version int16, body []byte) time.Duration {
	if !throttles(key, version) || len(body) < 4 {
		return 0
	}
	ms := int32(binary.BigEndian.Uint32(body))
	return min(time.Duration(max(ms, 0))*time.Millisecond, maxThrottle)
}

// throttled notes that the broker reads nothing for a while.
func (k *conn) throttled(d time.Duration) {
	k.c.throttled.Add(int64(d))
	k.mu.Lock()
	k.quiet = time.Now().Add(d)
	k.mu.Unlock()
}

// calm waits until the broker reads again.
func (k *conn) calm(ctx context.Context) error {
	for {
		k.mu.Lock()
		wait := time.Until(k.quiet)
		ended := k.err != nil
		k.mu.Unlock()
		if wait <= 0 || ended {
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}
