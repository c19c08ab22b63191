package mqttserver_test

import (
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

// FuzzInput sends any bytes after a CONNECT, in two pieces, and expects that the server survives and serves another
// client.
func FuzzInput(f *testing.F) {
	for _, v := range versions {
		var b []byte
		for _, pk := range []mqtt.Packet{
			&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "t/#", QoS: 2}}},
			publishTo("t/1", "x", 1, 8), publishTo("t/2", "x", 2, 9), &mqtt.Pubrel{ID: 9}, &mqtt.Puback{ID: 1},
			&mqtt.Pubrec{ID: 2}, &mqtt.Pubcomp{ID: 2}, &mqtt.Unsubscribe{ID: 2, Filters: []string{"t/#"}},
			&mqtt.Pingreq{}, &mqtt.Disconnect{},
		} {
			b, _ = mqtt.Append(b, pk, v)
		}
		f.Add(byte(v), b, 7)
	}
	f.Fuzz(func(t *testing.T, v byte, b []byte, cut int) {
		bubble(t, nil, nil, func(w *world) {
			p := w.client(&mqtt.Connect{ClientID: "c", Version: versions[int(v)%3]})
			cut := min(max(cut, 0), len(b))
			p.nc.Write(b[:cut])
			p.nc.Write(b[cut:])
			p.nc.Close()
			other := w.client(&mqtt.Connect{ClientID: "d"})
			other.send(&mqtt.Pingreq{})
			other.expect(&mqtt.Pingresp{})
		})
	})
}
