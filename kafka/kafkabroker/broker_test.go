package kafkabroker

import (
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
)

func TestBrokerReopens(t *testing.T) {
	fs := vfs.NewMem()
	open := func() *Broker {
		b, err := Open(&Options{Dir: "d", fs: fs})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open()
	one, err := b.createTopic(&newTopic{name: "one", partitions: 3, replication: -1, configs: map[string]string{}}, false)
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.createTopic(&newTopic{name: "two", partitions: 1, replication: -1}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.deleteTopic(two); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	cluster := b.ClusterID()
	b = open()
	defer b.Close()
	if b.ClusterID() != cluster || b.topic("two") != nil {
		t.Error("cluster", b.ClusterID(), "and", cluster)
	}
	if p := b.topic("one"); p == nil || p.id != one.id || len(p.partitions()) != 3 || p.partition(2).log == nil {
		t.Error("topic", p)
	}
}
