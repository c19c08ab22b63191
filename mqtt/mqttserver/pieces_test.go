package mqttserver_test

import (
	"bytes"
	"math/rand"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/mqtt"
)

// TestReadPieces: however the stream is cut into pieces, the messages arrive as they were sent.
func TestReadPieces(t *testing.T) {
	for seed := range int64(20) {
		rnd := rand.New(rand.NewSource(seed))
		var want [][]byte
		got := 0
		r := &router{publish: func(_ *session, p *mqtt.Publish) mqtt.ReasonCode {
			if !bytes.Equal(p.Payload, want[got]) {
				t.Errorf("seed %d: message %d of %d bytes has changed", seed, got, len(p.Payload))
			}
			got++
			return mqtt.ReasonSuccess
		}}
		bubble(t, r, nil, func(w *world) {
			p := w.client(&mqtt.Connect{ClientID: "c"})
			var stream []byte
			for range 40 {
				body := make([]byte, rnd.Intn(1<<uint(2+rnd.Intn(16))))
				rnd.Read(body)
				want = append(want, body)
				var err error
				if stream, err = mqtt.Append(stream, &mqtt.Publish{Topic: []byte("t"), Payload: body}, mqtt.Version5); err != nil {
					t.Fatal(err)
				}
			}
			for len(stream) > 0 {
				n := min(len(stream), 1+rnd.Intn(64<<10))
				p.write(stream[:n])
				stream = stream[n:]
				synctest.Wait()
			}
		})
		if got != len(want) {
			t.Errorf("seed %d: %d messages of %d", seed, got, len(want))
		}
	}
}
