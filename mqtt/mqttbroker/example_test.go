package mqttbroker_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// A broker on a port of loopback that lets everybody in.
func Example() {
	b, err := mqttbroker.New(&mqttbroker.Options{Authenticate: mqttbroker.AllowAll})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := mqttserver.New(b, nil)
	go server.Serve(l, nil)
	defer server.Close()
	fmt.Println("serving", l.Addr().Network())
	// Output: serving tcp
}

// The application subscribes and publishes without a connection.
func ExampleBroker_Subscribe() {
	b, err := mqttbroker.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	sub, err := b.Subscribe([]mqtt.Subscription{{Filter: "rooms/+/temperature", QoS: 1}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close()

	ctx := context.Background()
	p := &mqtt.Publish{Topic: []byte("rooms/kitchen/temperature"), Payload: []byte("21.5"), QoS: 1}
	if err := b.Publish(ctx, p); err != nil {
		log.Fatal(err)
	}
	for d, err := range sub.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %s\n", d.Message.Topic(), d.Message.Payload())
		break
	}
	// Output: rooms/kitchen/temperature 21.5
}

// Retained messages are there for everybody who asks, the application included.
func ExampleBroker_Retained() {
	b, err := mqttbroker.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	for _, state := range []string{"on", "off"} {
		p := &mqtt.Publish{Topic: []byte("lamps/1"), Payload: []byte(state), Retain: true}
		if err := b.Publish(context.Background(), p); err != nil {
			log.Fatal(err)
		}
	}
	for m := range b.Retained("lamps/#") {
		fmt.Printf("%s is %s\n", m.Topic(), m.Payload())
	}
	// Output: lamps/1 is off
}

// Users with passwords, and an access control list, from files.
func ExampleOptions() {
	dir, err := os.MkdirTemp("", "broker")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	users, rules := filepath.Join(dir, "users"), filepath.Join(dir, "acl")
	os.WriteFile(users, []byte("alice:"+mqttbroker.HashPassword("wonderland")+"\n"), 0o600)
	os.WriteFile(rules, []byte("user alice\ntopic readwrite alice/#\n"), 0o600)

	passwords, err := mqttbroker.OpenPasswordFile(users)
	if err != nil {
		log.Fatal(err)
	}
	acl, err := mqttbroker.OpenACLFile(rules)
	if err != nil {
		log.Fatal(err)
	}
	b, err := mqttbroker.New(&mqttbroker.Options{
		Authenticate: mqttbroker.Chain(mqttbroker.CertificateName, passwords.Authenticate),
		Authorize:    acl.Authorize,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()

	may := acl.Authorize(&mqttbroker.Client{ID: "c1", User: "alice"})
	fmt.Println(may(mqttbroker.ActionPublish, "alice/diary") == mqttbroker.Allow, may(mqttbroker.ActionPublish, "bob/diary") == mqttbroker.Allow)
	// Output: true false
}

// A hook rejects what does not please it.
func ExampleHooks() {
	small := func(_ context.Context, p *mqttbroker.Publishing) error {
		if len(p.Message.Payload) > 10 {
			return &mqtt.Error{Code: mqtt.ReasonPayloadFormatInvalid, Reason: "too long"}
		}
		return nil
	}
	b, err := mqttbroker.New(&mqttbroker.Options{Hooks: mqttbroker.Hooks{OnPublish: small}})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	fmt.Println(b.Publish(context.Background(), &mqtt.Publish{Topic: []byte("t"), Payload: []byte("a long message")}))
	// Output: mqtt: Payload format invalid
}

// A broker whose state outlives it.
func ExampleOptions_dir() {
	dir, err := os.MkdirTemp("", "broker-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	opts := &mqttbroker.Options{Authenticate: mqttbroker.AllowAll, Dir: dir}

	broker, err := mqttbroker.New(opts)
	if err != nil {
		log.Fatal(err)
	}
	p := &mqtt.Publish{Topic: []byte("config/lamp"), Payload: []byte("on"), Retain: true, QoS: mqtt.QoS1}
	if err := broker.Publish(context.Background(), p); err != nil { // returns when the disk has it
		log.Fatal(err)
	}
	broker.Close()

	if broker, err = mqttbroker.New(opts); err != nil {
		log.Fatal(err)
	}
	defer broker.Close()
	for m := range broker.Retained("#") {
		fmt.Printf("%s is %s\n", m.Topic(), m.Payload())
	}
	// Output: config/lamp is on
}
