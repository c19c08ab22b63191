package mqttclient

import (
	"testing"

	"github.com/quartet-mq/quartet/mqtt"
)

func TestPublishQoS(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.Version31, mqtt.Version311, mqtt.Version5} {
		t.Run(v.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newNetwork(t, "a")
				c := n.client(&Options{Version: v}, "a")
				p := n.connect("a", mqtt.Connack{})
				publish := func(qos mqtt.QoS) func() error {
					return async(func() error {
						return c.Publish(t.Context(), &Message{Topic: "t", Payload: []byte("x"), QoS: qos})
					})
				}
				wait := publish(0)
				p.expect("PUBLISH")
				if err := wait(); err != nil {
					t.Fatal(err)
				}
				wait = publish(1)
				p.expect("PUBLISH")
				p.send(&mqtt.Puback{ID: 1})
				if err := wait(); err != nil {
					t.Fatal(err)
				}
				wait = publish(2)
				p.expect("PUBLISH")
				p.send(&mqtt.Pubrec{ID: 2})
				p.expect("PUBREL id=2")
				p.send(&mqtt.Pubcomp{ID: 2})
				if err := wait(); err != nil {
					t.Fatal(err)
				}
				p.nc.Close()
			})
		})
	}
}
