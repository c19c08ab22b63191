package kafkabroker

import (
	"slices"
	"sync"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// fetchBuffer is memory with records on their way to a client.
type fetchBuffer struct {
	b *Broker
	*kafkaserver.Buffer
	size int64
}

var fetchBuffers = sync.Pool{New: func() any { return new(fetchBuffer) }}

// newFetchBuffer returns memory for records.
func (b *Broker) newFetchBuffer(n int) *fetchBuffer {
	f := fetchBuffers.Get().(*fetchBuffer)
	f.b, f.Buffer, f.size = b, kafkaserver.NewBuffer(n), int64(n)
	b.fetching.Add(f.size)
	return f
}

// Release implements [kafkaserver.Releaser].
func (f *fetchBuffer) Release() {
	f.b.fetching.Add(-f.size)
	f.Buffer.Release()
	*f = fetchBuffer{}
	fetchBuffers.Put(f)
}

// maxFetching is how many bytes of records may be on their way to clients before responses become small.
const maxFetching = 256 << 20

// budget returns how many bytes of records a response may have.
func (b *Broker) budget(want int64) int64 {
	free := maxFetching - b.fetching.Load()
	return min(want, max(free/2, 64<<10))
}

// finish reads and answers.
func (j *fetchJob) finish() {
	left := j.s.b.budget(j.maxBytes)
	empty := true
	for i := range j.parts {
		p := &j.parts[i]
		n := j.read(p, left, empty)
		left -= n
		empty = empty && n == 0
	}
	j.settle()
	j.reply()
	j.free()
}

// read reads records of a partition, no more than there is room for, but a first batch even so.
func (j *fetchJob) read(p *fetchPart, left int64, first bool) int64 {
	p.answer = kafkawire.FetchResponsePartition{
		PartitionIndex: p.index, HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1, PreferredReadReplica: -1,
	}
	a := &p.answer
	if a.ErrorCode = p.code; a.ErrorCode == noError {
		a.ErrorCode = j.s.check(p.p, p.LeaderEpoch)
	}
	if a.ErrorCode != noError {
		if a.ErrorCode == kafkawire.ErrUnknownTopicOrPartition && j.r.Version >= 13 && p.p != nil && p.p.topic.deleted.Load() {
			a.ErrorCode = kafkawire.ErrUnknownTopicID
		}
		j.tellLeader(p)
		return 0
	}
	if p.LastEpoch >= 0 {
		if a.DivergingEpoch = j.diverges(p); a.DivergingEpoch != nil {
			if a.DivergingEpoch.Epoch < 0 {
				j.failed(p, kafkawire.ErrOffsetOutOfRange) // the client has seen an epoch that there never was
				return 0
			}
			st := p.p.log.state()
			a.HighWatermark, a.LastStableOffset, a.LogStartOffset = st.highWatermark, st.lastStable, st.start
			return 0
		}
	}
	var nothing bool
	if a.HighWatermark, a.LastStableOffset, a.LogStartOffset, nothing = p.p.log.nothing(p.Offset, j.isolation); nothing {
		if j.isolation == readCommitted {
			a.AbortedTransactions = []kafkawire.FetchResponseAbortedTransaction{}
		}
		return 0
	}
	f, err := p.p.log.fetch(fetchRequest{
		offset: p.Offset, maxBytes: int(min(int64(p.MaxBytes), max(left, 0))), atLeast: first, isolation: j.isolation,
	})
	if err != nil {
		j.failed(p, err)
		return 0
	}
	defer func() {
		if p.file == nil {
			f.close()
		}
	}()
	a.HighWatermark, a.LastStableOffset, a.LogStartOffset = f.state.highWatermark, f.state.lastStable, f.state.start
	if j.isolation == readCommitted {
		a.AbortedTransactions = []kafkawire.FetchResponseAbortedTransaction{}
	}
	if f.size() == 0 {
		return 0
	}
	if err = p.take(j, f); err == nil && j.isolation == readCommitted && p.size > 0 {
		err = j.aborted(f, a)
	}
	if err != nil {
		p.drop()
		j.failed(p, err)
		return 0
	}
	if p.size == 0 {
		p.drop()
	}
	n := int64(p.size)
	p.p.topic.stats.out(n)
	return n
}

// sendFileSize is from how many bytes on records are sent from the file, without a copy in memory. The call costs more than
// to read and to write a few.
const sendFileSize = 64 << 10

// take takes the records that f has found into the answer.
func (p *fetchPart) take(j *fetchJob, f *fetched) error {
	if _, ok := f.file.(kafkaserver.File); ok && f.size() >= sendFileSize && j.r.SendsFiles() {
		n, err := f.trim()
		if p.size = n; err == nil && n > 0 {
			p.file = f
		}
		return err
	}
	p.buf = j.s.b.newFetchBuffer(f.size())
	var err error
	p.answer.Records, err = f.read(p.buf.Bytes)
	p.size = len(p.answer.Records)
	return err
}

// aborted lists the transactions whose records the client must pass over.
func (j *fetchJob) aborted(f *fetched, a *kafkawire.FetchResponsePartition) error {
	list, err := f.aborted()
	for _, t := range list {
		a.AbortedTransactions = append(a.AbortedTransactions, kafkawire.FetchResponseAbortedTransaction{
			ProducerID: kafkawire.ProducerID(t.producerID), FirstOffset: t.first,
		})
	}
	return err
}

// drop gives the memory back.
func (p *fetchPart) drop() {
	p.answer.Records, p.size = nil, 0
	if p.buf != nil {
		p.buf.Release()
		p.buf = nil
	}
	if p.file != nil {
		p.file.close()
		p.file = nil
	}
}

// failed makes the answer one with an error.
func (j *fetchJob) failed(p *fetchPart, err error) {
	p.answer = kafkawire.FetchResponsePartition{
		PartitionIndex: p.index, ErrorCode: errorCode(err), HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1, PreferredReadReplica: -1,
	}
	p.p.topic.stats.failedFetch.Add(1)
	switch p.answer.ErrorCode {
	case kafkawire.ErrOffsetOutOfRange:
		st := p.p.log.state()
		p.answer.HighWatermark, p.answer.LastStableOffset, p.answer.LogStartOffset = st.highWatermark, st.lastStable, st.start
	default:
		j.s.b.log.Warn("kafkabroker: records could not be read", "topic", p.name, "partition", p.index, "error", err)
	}
}

// tellLeader says who leads the partition, if that was the error.
func (j *fetchJob) tellLeader(p *fetchPart) {
	if p.answer.ErrorCode != kafkawire.ErrNotLeaderOrFollower && p.answer.ErrorCode != kafkawire.ErrFencedLeaderEpoch || j.r.Version < 12 {
		return
	}
	b, leader := j.s.b, p.p.leader()
	p.answer.CurrentLeader = &kafkawire.FetchResponseCurrentLeader{LeaderID: kafkawire.BrokerID(leader), LeaderEpoch: b.leaderEpoch(p.p)}
	known := slices.ContainsFunc(j.resp.NodeEndpoints, func(e kafkawire.FetchResponseNodeEndpoint) bool { return int32(e.NodeID) == leader })
	if n := b.node(leader); n != nil && j.r.Version >= 16 && !known {
		host, port := j.s.address(n)
		e := kafkawire.FetchResponseNodeEndpoint{NodeID: kafkawire.BrokerID(leader), Host: host, Port: port, Rack: n.rack()}
		j.resp.NodeEndpoints = append(j.resp.NodeEndpoints, e)
	}
}

// settle decides which partitions the response has.
func (j *fetchJob) settle() {
	if j.session == nil {
		for i := range j.parts {
			j.parts[i].tell = true
		}
		return
	}
	j.session.mu.Lock()
	defer j.session.mu.Unlock()
	for i := range j.parts {
		p := &j.parts[i]
		a := &p.answer
		p.tell = j.session.m.Answer(p.entry, kafka.FetchAnswer{
			Records: p.size > 0, Special: a.DivergingEpoch != nil, Failed: a.ErrorCode != noError,
			HighWatermark: a.HighWatermark, Start: a.LogStartOffset,
		}) || j.full
		if !p.tell {
			p.drop()
		}
	}
}

// reply sends the response.
func (j *fetchJob) reply() {
	topics := 0
	j.eachRun(func([]fetchPart, int) { topics++ })
	w := &j.writer
	j.resp.SessionID = j.sessionID
	w.Begin(j.r.Start(), j.r.Version, &j.resp, topics)
	j.eachRun(func(run []fetchPart, n int) {
		w.Topic(kafkawire.TopicName(run[0].name), run[0].topic, n)
		for i := range run {
			p := &run[i]
			if !p.tell {
				continue
			}
			w.Partition(&p.answer, p.size)
			switch {
			case p.buf != nil:
				j.splices = append(j.splices, kafkaserver.Splice{At: w.Len(), Data: p.answer.Records, Owner: p.buf})
				p.buf = nil
			case p.file != nil:
				f := p.file
				j.splices = append(j.splices, kafkaserver.Splice{At: w.Len(), File: f.file.(kafkaserver.File), Offset: f.pos, Size: p.size, Owner: f})
				p.file = nil
			}
			w.PartitionEnd(&p.answer)
		}
		w.TopicEnd()
	})
	b, err := w.End(&j.resp)
	if err != nil {
		for _, s := range j.splices {
			s.Owner.Release()
		}
		j.r.Fail(err)
		return
	}
	j.r.ReplyEncoded(b, j.splices...)
}

// eachRun visits partitions of the same topic that follow each other, without those that the response does not have before
// and behind them. n is how many of them it has.
func (j *fetchJob) eachRun(visit func(run []fetchPart, n int)) {
	for i := 0; i < len(j.parts); {
		if !j.parts[i].tell {
			i++
			continue
		}
		n, end := 1, i+1
		for k := end; k < len(j.parts); k++ {
			p := &j.parts[k]
			if !p.tell {
				continue
			}
			if p.name != j.parts[i].name || p.topic != j.parts[i].topic {
				break
			}
			n, end = n+1, k+1
		}
		visit(j.parts[i:end], n)
		i = end
	}
}

// fetchMaxBytes is how many bytes of records a response has at most.
func (b *Broker) fetchMaxBytes() int32 { return b.configs.broker().int32("fetch.max.bytes") }
