package kafkaclient

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strconv"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Cluster describes a cluster.
type Cluster struct {
	ID         string
	Controller kafkawire.BrokerID // -1: unknown
	Brokers    []Broker           // by number
}

// Broker describes a broker.
type Broker struct {
	ID   kafkawire.BrokerID
	Addr string // host:port
	Rack string
}

// Cluster describes the cluster.
func (a *Admin) Cluster(ctx context.Context) (*Cluster, error) {
	r, err := request[*kafkawire.MetadataResponse](ctx, a.c, &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{}})
	if err != nil {
		return nil, err
	}
	x := &Cluster{Controller: r.ControllerID}
	if r.ClusterID != nil {
		x.ID = *r.ClusterID
	}
	for _, b := range r.Brokers {
		n := Broker{ID: b.NodeID, Addr: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))}
		if b.Rack != nil {
			n.Rack = *b.Rack
		}
		x.Brokers = append(x.Brokers, n)
	}
	slices.SortFunc(x.Brokers, func(a, b Broker) int { return int(a.ID) - int(b.ID) })
	return x, nil
}

// LogDir describes a directory of a broker.
type LogDir struct {
	Broker     kafkawire.BrokerID
	Path       string
	Total      int64 // bytes of the file system, -1: unknown
	Usable     int64
	Partitions []LogDirPartition
	Err        error // the directory has failed
}

// LogDirPartition is a partition in a directory.
type LogDirPartition struct {
	kafka.TopicPartition
	Size   int64 // in bytes
	Lag    int64 // how far the replica is behind, in records
	Future bool  // a replica that is being moved there
}

// LogDirs describes the directories of brokers, all without any.
func (a *Admin) LogDirs(ctx context.Context, brokers ...kafkawire.BrokerID) (dirs []LogDir, err error) {
	err = a.byBroker(ctx, brokers, &kafkawire.DescribeLogDirsRequest{}, func(id kafkawire.BrokerID, resp kafkawire.Response) error {
		r := resp.(*kafkawire.DescribeLogDirsResponse)
		if r.ErrorCode != 0 {
			return remote(r.ErrorCode, nil)
		}
		for _, d := range r.Results {
			x := LogDir{Broker: id, Path: d.LogDir, Total: d.TotalBytes, Usable: d.UsableBytes, Err: remote(d.ErrorCode, nil)}
			for _, t := range d.Topics {
				for _, p := range t.Partitions {
					x.Partitions = append(x.Partitions, LogDirPartition{kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}, p.PartitionSize, p.OffsetLag, p.IsFutureKey})
				}
			}
			dirs = append(dirs, x)
		}
		return nil
	})
	slices.SortFunc(dirs, func(a, b LogDir) int { return cmp.Or(cmp.Compare(a.Broker, b.Broker), cmp.Compare(a.Path, b.Path)) })
	return dirs, err
}
