package kafkabroker

import (
	"path/filepath"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// describeLogDirs says how large the logs are.
func (s *session) describeLogDirs(r *kafkaserver.Request) {
	var req kafkawire.DescribeLogDirsRequest
	if err := r.Decode(&req); err != nil {
		r.Fail(err)
		return
	}
	var resp kafkawire.DescribeLogDirsResponse
	if !s.allowed(opDescribe, resourceCluster, clusterName) {
		resp.ErrorCode = kafkawire.ErrClusterAuthorizationFailed
		r.Reply(&resp)
		return
	}
	dir := kafkawire.DescribeLogDirsResponseResult{LogDir: s.b.logDirName(), TotalBytes: -1, UsableBytes: -1}
	if err := s.b.logs.failure(); err != nil {
		dir.ErrorCode = errorCode(err)
	}
	if free, total, err := s.b.fs.Free(s.b.logPath()); err == nil {
		dir.TotalBytes, dir.UsableBytes = total, free
	}
	wanted := make(map[string]map[int32]bool)
	for _, t := range req.Topics {
		set := make(map[int32]bool, len(t.Partitions))
		for _, i := range t.Partitions {
			set[i] = true
		}
		wanted[string(t.Topic)] = set
	}
	for _, t := range s.b.allTopics() {
		set, ok := wanted[t.name]
		if req.Topics != nil && !ok {
			continue
		}
		out := kafkawire.DescribeLogDirsResponseTopic{Name: kafkawire.TopicName(t.name)}
		for _, p := range t.partitions() {
			if req.Topics == nil || set[p.index] {
				out.Partitions = append(out.Partitions, kafkawire.DescribeLogDirsResponsePartition{PartitionIndex: p.index, PartitionSize: p.log.size()})
			}
		}
		if len(out.Partitions) > 0 {
			dir.Topics = append(dir.Topics, out)
		}
	}
	resp.Results = append(resp.Results, dir)
	r.Reply(&resp)
}

// logDirName is what clients are told of where the logs are.
func (b *Broker) logDirName() string {
	if b.opt.Dir == "" {
		return "memory"
	}
	if name, err := filepath.Abs(b.logPath()); err == nil {
		return name
	}
	return b.logPath()
}
