package kafkabroker

import "github.com/quartet-mq/quartet/kafka/kafkawire"

// groupHandlers are the requests about groups and their offsets.
func groupHandlers() []handler {
	return []handler{
		{kafkawire.KeyOffsetCommit, 2, 10, (*session).offsetCommit},
		{kafkawire.KeyOffsetFetch, 1, 10, (*session).offsetFetch},
		{kafkawire.KeyFindCoordinator, 0, 6, (*session).findCoordinator},
		{kafkawire.KeyJoinGroup, 0, 9, (*session).joinGroup},
		{kafkawire.KeyHeartbeat, 0, 4, (*session).heartbeat},
		{kafkawire.KeyLeaveGroup, 0, 5, (*session).leaveGroup},
		{kafkawire.KeySyncGroup, 0, 5, (*session).syncGroup},
		{kafkawire.KeyDescribeGroups, 0, 6, (*session).describeGroups},
		{kafkawire.KeyListGroups, 0, 5, (*session).listGroups},
		{kafkawire.KeyTxnOffsetCommit, 0, 6, (*session).txnOffsetCommit},
		{kafkawire.KeyDeleteGroups, 0, 3, (*session).deleteGroups},
		{kafkawire.KeyOffsetDelete, 0, 0, (*session).offsetDelete},
	}
}
