package kafkawire_test

import (
	"errors"
	"fmt"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func Example() {
	// A client asks for the metadata of a topic.
	request := &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{{Name: new(kafkawire.TopicName("events"))}}}
	frame, err := kafkawire.AppendRequest(nil, kafkawire.RequestHeader{Version: 12, CorrelationID: 1, ClientID: []byte("me")}, request)
	if err != nil {
		panic(err)
	}

	// A broker reads it: after the size in four bytes come the header and the body.
	var h kafkawire.RequestHeader
	body, err := h.Decode(frame[4:])
	if err != nil || !h.Key.Supports(h.Version) {
		panic("not that")
	}
	got := kafkawire.NewRequest(h.Key)
	if err := got.Decode(body, h.Version); err != nil {
		panic(err)
	}
	fmt.Println(h.Key, h.Version, *got.(*kafkawire.MetadataRequest).Topics[0].Name)
	// Output: Metadata 12 events
}

func ExampleError() {
	request := &kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{}}
	_, err := request.Append(nil, 0)
	fmt.Println(err)
	fmt.Println(errors.Is(err, kafkawire.ErrField))
	// Output:
	// kafkawire: MetadataRequest version 0: AllowAutoTopicCreation: the version lacks this field
	// true
}

func ExampleProduceView() {
	m := kafkawire.ProduceRequest{Acks: -1, TopicData: []kafkawire.ProduceRequestTopic{
		{Name: "events", PartitionData: []kafkawire.ProduceRequestPartition{{Index: 3, Records: []byte("a record batch")}}},
	}}
	body, err := m.Append(nil, 9)
	if err != nil {
		panic(err)
	}
	var v kafkawire.ProduceView
	if err := v.Decode(body, 9); err != nil {
		panic(err)
	}
	for v.Next() {
		fmt.Printf("%s-%d: %s\n", v.Topic.Name, v.Index, v.Records)
	}
	// Output: events-3: a record batch
}
