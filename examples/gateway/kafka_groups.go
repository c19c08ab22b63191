package main

import "github.com/quartet-mq/quartet/kafka"

// groupMetrics returns those of groups.
func (k *kafkaSide) groupMetrics() []metric {
	const manager, counts = "kafka_coordinator_group_groupmetadatamanager_", "kafka_server_group_coordinator_metrics_"
	g := k.broker.GroupStats()
	return []metric{
		{"gauge", manager + "numgroups", "", "Groups.", float64(g.Groups)},
		{"gauge", manager + "numgroupsempty", "", "Groups without members.", float64(g.States[kafka.GroupEmpty])},
		{"gauge", manager + "numgroupspreparingrebalance", "", "Groups whose members are joining.", float64(g.States[kafka.GroupPreparingRebalance])},
		{"gauge", manager + "numgroupscompletingrebalance", "", "Groups that wait for an assignment.", float64(g.States[kafka.GroupCompletingRebalance])},
		{"gauge", manager + "numgroupsstable", "", "Groups whose members have their assignments.", float64(g.States[kafka.GroupStable])},
		{"gauge", manager + "numoffsets", "", "Committed offsets.", float64(g.Offsets)},
		{"gauge", "quartet_kafka_group_members", "", "Members of groups.", float64(g.Members)},
		{"gauge", "quartet_kafka_group_pending_offsets", "", "Offsets in open transactions.", float64(g.Pending)},
		{"counter", counts + "offset_commit_count", "", "Offsets that were committed.", float64(g.Commits)},
		{"counter", counts + "offset_expiration_count", "", "Offsets that were removed as nobody used them.", float64(g.Expired)},
		{"counter", counts + "group_completed_rebalance_count", "", "Rebalances that were completed.", float64(g.Rebalances)},
	}
}
