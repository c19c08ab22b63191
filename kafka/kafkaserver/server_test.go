package kafkaserver_test

import (
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

func TestAPIVersions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := &echo{apis: kafkaserver.APIs{
			Versions: []kafkaserver.APIVersion{{Key: kafkawire.KeyProduce, Min: 0, Max: 13}, {Key: kafkawire.KeyMetadata, Max: 13}},
			Features: []kafkaserver.Feature{{Name: "transaction.version", Max: 2, Level: 2}}, Epoch: 7,
			ClusterID: "mine", NodeID: 3,
		}}
		_, l := serve(t, e, nil)
		p := dial(t, l)
		for version := int16(0); version <= kafkawire.KeyAPIVersions.MaxVersion(); version++ {
			q := &kafkawire.APIVersionsRequest{NodeID: -1}
			if version >= 3 {
				q.ClientSoftwareName, q.ClientSoftwareVersion = "a-client", "1.0"
			}
			r := p.call(q, version).(*kafkawire.APIVersionsResponse)
			if r.ErrorCode != 0 || len(r.APIKeys) != 5 || r.APIKeys[0].APIKey != 0 || r.APIKeys[0].MaxVersion != 13 {
				t.Fatalf("version %d: %+v", version, r)
			}
			if version >= 3 && (r.FinalizedFeaturesEpoch != 7 || len(r.FinalizedFeatures) != 1) || version >= 4 != (len(r.SupportedFeatures) == 1) {
				t.Errorf("version %d: %+v", version, r)
			}
		}
		synctest.Wait()
	})
}

// TestOrder answers requests in the wrong order; the responses come in the right one.
func TestOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var held []*kafkaserver.Request
		e := new(echo)
		e.handle = func(r *kafkaserver.Request) {
			held = append(held, r)
			if len(held) == 3 {
				for _, i := range []int{1, 2, 0} {
					held[i].Reply(&kafkawire.HeartbeatResponse{ErrorCode: kafkawire.ErrorCode(100 + i)})
				}
			}
		}
		_, l := serve(t, e, nil)
		p := dial(t, l)
		for range 3 {
			p.send(&kafkawire.HeartbeatRequest{}, 4)
		}
		for i := range 3 {
			var m kafkawire.HeartbeatResponse
			p.receive(int32(i+1), &m, 4)
			if m.ErrorCode != kafkawire.ErrorCode(100+i) {
				t.Errorf("response %d: %v", i, m.ErrorCode)
			}
		}
	})
}
