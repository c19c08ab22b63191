package kafkaload

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Batch makes a record batch of values of a size, about as many bytes of them as the batch is to have. The values can be
// compressed to about a third, as text and JSON can.
func Batch(value, size int, method compress.Method) (batch []byte, records int, err error) {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([][]byte, 500)
	for i := range words {
		words[i] = fmt.Appendf(nil, "%x ", r.Uint64N(1<<uint(8+r.IntN(40))))
	}
	var w kafka.BatchWriter
	now := time.Now().UnixMilli()
	v := make([]byte, 0, value+20)
	for w.Count() == 0 || w.Len()+value <= size {
		for v = v[:0]; len(v) < value; {
			v = append(v, words[r.IntN(len(words))]...)
		}
		w.Add(now, nil, v[:value])
	}
	batch, err = w.Append(nil, &kafka.BatchOptions{Compression: method})
	return batch, w.Count(), err
}

// Producer sends the same request again and again: one batch for each of some partitions, with acks=all.
type Producer struct {
	*Client
	// Records is how many have been acknowledged.
	Records int64
	// Times are how long requests took, if KeepTimes.
	Times     []time.Duration
	KeepTimes bool

	frame []byte
	each  int64
}

// Window is how many requests of a producer may be under way, as max.in.flight.requests.per.connection.
const Window = 5

// NewProducer connects a producer that sends a batch with so many records to partitions of a topic.
func NewProducer(addr, topic string, partitions []int, batch []byte, records int) (*Producer, error) {
	c, err := Connect(addr)
	if err != nil {
		return nil, err
	}
	p := &Producer{Client: c, each: int64(records * len(partitions))}
	p.frame, err = produceFrame(topic, partitions, batch)
	return p, err
}

func produceFrame(topic string, partitions []int, batch []byte) ([]byte, error) {
	var req kafkawire.ProduceRequest
	req.Reset()
	req.Acks, req.TimeoutMs = -1, 30_000
	t := kafkawire.ProduceRequestTopic{Name: kafkawire.TopicName(topic)}
	for _, i := range partitions {
		t.PartitionData = append(t.PartitionData, kafkawire.ProduceRequestPartition{Index: int32(i), Records: batch})
	}
	req.TopicData = []kafkawire.ProduceRequestTopic{t}
	return kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: produceVersion, ClientID: clientID}, &req)
}

// Run sends until the given time and waits for the acknowledgements. gate, if it is not nil, is called before each request
// and may wait.
func (p *Producer) Run(until time.Time, gate func()) error {
	window := make(chan time.Time, Window-1) // and one that is written
	done := make(chan error, 1)
	sent := make(chan struct{})
	go func() {
		for at := range window {
			if err := p.answer(at); err != nil {
				p.Close() // ends the writer
				for range window {
				}
				done <- err
				return
			}
		}
		done <- nil
	}()
	var failed error
	for now := time.Now(); now.Before(until); now = time.Now() {
		if gate != nil {
			gate()
			now = time.Now()
		}
		if _, failed = p.nc.Write(p.frame); failed != nil {
			break
		}
		window <- now
	}
	close(sent)
	close(window)
	if err := <-done; err != nil {
		return err
	}
	return failed
}

// answer receives one response.
func (p *Producer) answer(at time.Time) error {
	var resp kafkawire.ProduceResponse
	if err := p.receive(&resp, produceVersion); err != nil {
		return err
	}
	if p.KeepTimes {
		p.Times = append(p.Times, time.Since(at))
	}
	for _, t := range resp.Responses {
		for _, a := range t.PartitionResponses {
			if a.ErrorCode != 0 {
				return fmt.Errorf("produce to %s %d: %w", t.Name, a.Index, a.ErrorCode)
			}
		}
	}
	if len(resp.Responses) == 0 {
		return errors.New("a response to produce without topics")
	}
	p.Records += p.each
	return nil
}

// One sends one record with a value, alone in its batch, and waits for the acknowledgement.
func (p *Producer) One(topic string, value []byte) error {
	var w kafka.BatchWriter
	w.Add(time.Now().UnixMilli(), nil, value)
	batch, err := w.Append(nil, nil)
	if err != nil {
		return err
	}
	frame, err := produceFrame(topic, []int{0}, batch)
	if err != nil {
		return err
	}
	if _, err := p.nc.Write(frame); err != nil {
		return err
	}
	p.each = 1
	return p.answer(time.Now())
}
