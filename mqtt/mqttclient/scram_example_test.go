package mqttclient_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/url"
	"time"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// Log in with a password that does not go over the wire, at a broker that must know it, too.
func ExampleSCRAM() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	alice, err := mqttbroker.NewSCRAMCredential("SCRAM-SHA-256", "wonderland", 0)
	if err != nil {
		log.Fatal(err)
	}
	options, stop := brokerOf("alice", alice)
	defer stop()

	options.Auth = mqttclient.SCRAM(&mqttclient.SCRAMOptions{Username: "alice", Password: "wonderland"})
	c, err := mqttclient.Dial(ctx, "mem://broker", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println("connected:", c.Publish(ctx, &mqttclient.Message{Topic: "t", QoS: mqtt.QoS1}))

	options.Auth = mqttclient.SCRAM(&mqttclient.SCRAMOptions{Username: "alice", Password: "looking-glass"})
	_, err = mqttclient.Dial(ctx, "mem://broker", options)
	fmt.Println("refused:", errors.Is(err, &mqtt.Error{Code: mqtt.ReasonNotAuthorized}), err)
	// Output:
	// connected: <nil>
	// refused: true mqtt: peer: Not authorized: invalid-proof
}

// brokerOf starts a broker with one user.
func brokerOf(name string, credential mqttbroker.SCRAMCredential) (o *mqttclient.Options, stop func()) {
	lookup := func(_ context.Context, _, user string) (mqttbroker.SCRAMCredential, error) {
		if user != name {
			return mqttbroker.SCRAMCredential{}, nil
		}
		return credential, nil
	}
	b, err := mqttbroker.New(&mqttbroker.Options{Exchange: mqttbroker.SCRAM(&mqttbroker.SCRAMOptions{Lookup: lookup})})
	if err != nil {
		log.Fatal(err)
	}
	l := memnet.Listen("broker")
	s := mqttserver.New(b, nil)
	go s.Serve(l, nil)
	dial := func(ctx context.Context, _ *url.URL) (net.Conn, error) { return l.Dial(ctx) }
	return &mqttclient.Options{Dialers: map[string]mqttclient.DialFunc{"mem": dial}}, func() {
		s.Close()
		b.Close()
	}
}
