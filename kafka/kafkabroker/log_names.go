package kafkabroker

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// The names of files in the directory of a partition. A file of a segment is named after the segment's base offset in 20
// digits.
const (
	logSuffix       = ".log"
	indexSuffix     = ".index"
	timeIndexSuffix = ".timeindex"
	txnIndexSuffix  = ".txnindex"
	snapshotSuffix  = ".snapshot"

	deletedSuffix = ".deleted" // to be removed
	cleanedSuffix = ".cleaned" // being made by compaction
	swapSuffix    = ".swap"    // made by compaction, about to take its place
	tmpSuffix     = ".tmp"     // a checkpoint that is being written

	epochFile     = "leader-epoch-checkpoint"
	partitionFile = "partition.metadata"
)

// The names of files in a directory of logs.
const (
	metaFile          = "meta.properties"
	lockFile          = ".lock"
	cleanShutdownFile = ".kafka_cleanshutdown"
	recoveryPointFile = "recovery-point-offset-checkpoint"
	logStartFile      = "log-start-offset-checkpoint"
	highWatermarkFile = "replication-offset-checkpoint"
	cleanerFile       = "cleaner-offset-checkpoint"
)

// The suffixes of directories that are no logs to be served.
const (
	deleteDirSuffix = "-delete"
	strayDirSuffix  = "-stray"
	futureDirSuffix = "-future"
	metadataTopic   = "__cluster_metadata" // the log of Kafka's controllers
	maxDirName      = 255
)

// segmentFile is the name of a file of a segment.
func segmentFile(base int64, suffix string) string { return fmt.Sprintf("%020d%s", base, suffix) }

// parseSegmentFile splits the name of a segment's file. ok is false for other files.
func parseSegmentFile(name string) (base int64, suffix string, ok bool) {
	if len(name) <= 20 || name[20] != '.' {
		return 0, "", false
	}
	base, err := strconv.ParseInt(name[:20], 10, 64)
	return base, name[20:], err == nil && base >= 0 && name[0] != '+'
}

// partitionID names a partition by its topic's name.
type partitionID struct {
	topic     string
	partition int32
}

// String returns the name of the partition's directory.
func (p partitionID) String() string { return p.topic + "-" + strconv.Itoa(int(p.partition)) }

// parsePartition reads the name of a partition's directory.
func parsePartition(name string) (p partitionID, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return p, false
	}
	n, err := strconv.ParseUint(name[i+1:], 10, 31)
	if err != nil || strconv.FormatUint(n, 10) != name[i+1:] {
		return p, false
	}
	return partitionID{name[:i], int32(n)}, true
}

// deleteDirName is the name of a partition's directory on its way out. It ends in a number that no other has.
func (p partitionID) deleteDirName(id kafkawire.UUID) string {
	unique := fmt.Sprintf(".%x%s", id[:], deleteDirSuffix)
	name := p.String()
	return name[:min(len(name), maxDirName-len(unique))] + unique
}
