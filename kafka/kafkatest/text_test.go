package kafkatest_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkatest"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestText(t *testing.T) {
	var w kafka.BatchWriter
	w.Add(1, []byte("k"), []byte("v"), kafka.Header{Key: []byte("h"), Value: []byte("x")})
	w.Add(2, nil, nil)
	plain, err := w.Append(nil, &kafka.BatchOptions{Producer: &kafka.Producer{ID: 5, Epoch: 1, Sequence: 7}, Transactional: true})
	if err != nil {
		t.Fatal(err)
	}
	packed, err := w.Append(nil, &kafka.BatchOptions{Compression: compress.Gzip})
	if err != nil {
		t.Fatal(err)
	}
	id := kafkawire.UUID{1, 2, 3, 15: 9}
	for _, tt := range []struct {
		m    kafkawire.Message
		want string
	}{
		{new(kafkawire.HeartbeatRequest), ""},
		{&kafkawire.HeartbeatRequest{GroupID: "g <&>", GenerationID: -1, MemberID: "m"}, `GroupID="g <&>" GenerationID=-1 MemberID="m"`},
		{&kafkawire.HeartbeatResponse{ErrorCode: kafkawire.ErrRebalanceInProgress}, "ErrorCode=REBALANCE_IN_PROGRESS"},
		{&kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{}, AllowAutoTopicCreation: true}, "Topics=[] AllowAutoTopicCreation"},
		{&kafkawire.MetadataRequest{Topics: []kafkawire.MetadataRequestTopic{{Name: new(kafkawire.TopicName("t"))}, {TopicID: id}}},
			`Topics=[{Name="t"} {TopicID="` + id.String() + `"}]`},
		{&kafkawire.SASLAuthenticateRequest{AuthBytes: []byte("secret")}, "AuthBytes=<6 bytes>"},
		{&kafkawire.JoinGroupRequest{Protocols: []kafkawire.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("\x00a")}}},
			`Protocols=[{Name="range" Metadata="\x00a"}]`},
		{&kafkawire.OffsetFetchResponse{Topics: []kafkawire.OffsetFetchResponseTopic{{Name: "t",
			Partitions: []kafkawire.OffsetFetchResponsePartition{{PartitionIndex: 1, CommittedOffset: 5, Metadata: new("text")}}}}},
			`Topics=[{Name="t" Partitions=[{PartitionIndex=1 CommittedOffset=5 Metadata="text"}]}]`},
		{&kafkawire.ProduceRequest{Acks: -1, TopicData: []kafkawire.ProduceRequestTopic{{Name: "t",
			PartitionData: []kafkawire.ProduceRequestPartition{{Records: plain}, {Index: 1, Records: packed}, {Index: 2, Records: []byte("no")}}}}},
			`Acks=-1 TopicData=[{Name="t" PartitionData=[` +
				`{Records=[{BaseOffset=0 ProducerID=5 ProducerEpoch=1 BaseSequence=7 Transactional 0:"k"="v" "h":"x" 1:null}]} ` +
				`{Index=1 Records=[{BaseOffset=0 gzip 0:"k"="v" "h":"x" 1:null}]} {Index=2 Records=[<2 bytes that are no batch>]}]}]`},
	} {
		if got := kafkatest.Text(tt.m); strings.ReplaceAll(got, " Partitions=[] Groups=[]", "") != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// TestTextKnowsBytes makes sure that each field of bytes is known as one: JSON shows others as text.
func TestTextKnowsBytes(t *testing.T) {
	for k := range kafkawire.APIKey(kafkawire.Keys) {
		if k.MaxVersion() < k.MinVersion() {
			continue
		}
		for _, m := range []kafkawire.Message{kafkawire.NewRequest(k), kafkawire.NewResponse(k)} {
			v := reflect.ValueOf(m).Elem()
			n := 0
			fill(v, &n)
			got := kafkatest.Text(m)
			if strings.Contains(got, "//79/A==") {
				t.Errorf("%v: bytes shown as text: %s", v.Type(), got)
			}
			if shown := strings.Count(got, `"\xff\xfe\xfd\xfc"`) + strings.Count(got, "<4 bytes"); shown != n {
				t.Errorf("%v: %d fields of bytes, %d shown: %s", v.Type(), n, shown, got)
			}
		}
	}
}

// fill sets each field of bytes of a message, and counts them.
func fill(v reflect.Value, n *int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "UnknownTags" {
				fill(v.Field(i), n)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			*n++
			v.SetBytes([]byte{0xff, 0xfe, 0xfd, 0xfc})
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	}
}
