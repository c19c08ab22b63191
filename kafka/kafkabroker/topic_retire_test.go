package kafkabroker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// remove asks for the deletion of a topic.
func (p *peer) remove(name string) kafkawire.ErrorCode {
	p.t.Helper()
	m := &kafkawire.DeleteTopicsRequest{Topics: []kafkawire.DeleteTopicsRequestTopic{{Name: new(kafkawire.TopicName(name))}}, TimeoutMs: 1000}
	return ask[*kafkawire.DeleteTopicsResponse](p, m, 6).Responses[0].ErrorCode
}

// TestDeleteTransactions: the topic of transactions stays while one is open, or its records would hide those behind them for ever.
func TestDeleteTransactions(t *testing.T) {
	eachVersion(t, func(t *testing.T, version int) {
		b := openBroker(t, smallOptions())
		c, admin := txnProducer(t, b, "tx", version), connect(t, b)
		c.mustCreate("t", 1)
		c.begin()
		if code := c.write("t", 0, "a"); code != noError {
			t.Fatal(code)
		}
		if code := c.offsets("group", "t", 0, 1); code != noError {
			t.Fatal(code)
		}
		for _, name := range []string{transactionsTopic, offsetsTopic} {
			if code := admin.remove(name); code != kafkawire.ErrInvalidRequest {
				t.Errorf("%s: %v", name, code)
			}
		}
		if code := c.write("t", 0, "b"); code != noError { // nothing has changed
			t.Fatal(code)
		}
		if code := c.end(true); code != noError {
			t.Fatal(code)
		}
		synctest.Wait()
		if got, stable := admin.committedRecords("t", 0); len(got) != 2 || stable != 3 {
			t.Errorf("%q to %d", got, stable)
		}
		for _, name := range []string{transactionsTopic, offsetsTopic} {
			if code := admin.remove(name); code != noError {
				t.Errorf("%s: %v", name, code)
			}
		}
		old := c.p
		// Who was there has to look for the coordinator again, and begins anew.
		if code := c.init(noProducer()); code != noError {
			t.Fatal(code)
		}
		if c.p.ID == old.ID {
			t.Errorf("%+v again", c.p)
		}
		if code := c.write("t", 0, "c"); code != noError {
			t.Fatal(code)
		}
		if code := c.offsets("group", "t", 0, 4); code != noError {
			t.Fatal(code)
		}
		if code := c.end(true); code != noError {
			t.Fatal(code)
		}
		synctest.Wait()
		if got, _ := admin.committedRecords("t", 0); len(got) != 3 {
			t.Errorf("%q", got)
		}
		if at, code := admin.committedOffset("group", "t", 0); at != 4 || code != noError {
			t.Errorf("%d, %v", at, code)
		}
		if code := admin.remove("t"); code != noError {
			t.Error(code)
		}
	})
}

// TestDeleteOffsets: the topic of groups stays while one has members.
func TestDeleteOffsets(t *testing.T) {
	groupBubble(t, func(g *groupTest) {
		g.open()
		g.topic("topic", 1)
		p := g.dial()
		p.find("group")
		id, generation := p.join("group", "")
		if code := p.commit("group", id, generation, "topic", 0, 5); code != noError {
			t.Fatal(code)
		}
		if code := p.remove(offsetsTopic); code != kafkawire.ErrInvalidRequest {
			t.Error(code)
		}
		if code := p.heartbeat("group", id, generation); code != noError {
			t.Error(code)
		}
		pass(time.Minute) // the member is gone
		if code := p.remove(offsetsTopic); code != noError {
			t.Error(code)
		}
		if code := p.commit("group", "", -1, "topic", 0, 6); code != kafkawire.ErrNotCoordinator {
			t.Error(code)
		}
		p.find("group")
		if at, code := p.committed("group", "topic", 0, false); at != -1 || code != noError {
			t.Errorf("%d, %v", at, code)
		}
		if id, generation = p.join("group", ""); generation != 1 {
			t.Errorf("generation %d", generation)
		}
		if code := p.commit("group", id, generation, "topic", 0, 7); code != noError {
			t.Fatal(code)
		}
		g.restart()
		p = g.dial()
		if at, code := p.committed("group", "topic", 0, false); at != 7 || code != noError {
			t.Errorf("%d, %v", at, code)
		}
	})
}

// TestShardOfDeletedTopic: a request that has looked before the topic of groups was deleted and made again does not end the groups
// that there are now.
func TestShardOfDeletedTopic(t *testing.T) {
	b := openBroker(t, smallOptions())
	old, err := b.internalTopic(offsetsTopic)
	if err == nil {
		err = b.deleteTopic(old)
	}
	if err != nil {
		t.Fatal(err)
	}
	made, err := b.internalTopic(offsetsTopic)
	if err != nil {
		t.Fatal(err)
	}
	s := b.groups.shard(made.partition(0))
	b.groups.shard(old.partition(0))
	if b.groups.shard(made.partition(0)) != s {
		t.Error("the groups begin anew")
	}
}
