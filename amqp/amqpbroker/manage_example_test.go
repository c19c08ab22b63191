package amqpbroker_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/quartet-mq/quartet/amqp/amqpbroker"
)

// RabbitMQ's tools and libraries can manage the broker. A program serves the handler on a listener of its own; here it is
// called in place.
func ExampleBroker_ManagementHandler() {
	b, err := amqpbroker.New(&amqpbroker.Options{Definitions: amqpbroker.Guest()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	api := b.ManagementHandler(nil)

	call := func(method, path, body string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.RemoteAddr = "127.0.0.1:50000" // guest may log in from this machine only
		r.SetBasicAuth("guest", "guest")
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Println(strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Body)))
	}
	call(http.MethodPut, "/api/queues/%2f/orders", `{"durable":true}`)
	call(http.MethodGet, "/api/queues?columns=name,durable,messages", "")
	// Output:
	// 201
	// 200 [{"durable":true,"messages":0,"name":"orders"}]
}

// Definitions that RabbitMQ has exported make a broker what RabbitMQ was.
func ExampleReadDefinitions() {
	d, err := amqpbroker.ReadDefinitions(strings.NewReader(`{
		"vhosts": [{"name": "shop"}],
		"queues": [{"vhost": "shop", "name": "orders", "durable": true, "auto_delete": false, "arguments": {}}]
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := amqpbroker.New(&amqpbroker.Options{Definitions: d})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	fmt.Println(b.Vhosts(), b.Definitions().Queues[0].Name)
	// Output: [shop] orders
}
