package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/quartet-mq/quartet/internal/interop/amqpraw"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// An object is what the management API takes and gives.
type object = map[string]any

// call asks the management API and decodes the answer, if there is any, to answer.
func (s *script) callAPI(method, path string, body, answer any) (status int) {
	s.Helper()
	if s.api == "" {
		s.Skip("without management API")
	}
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			s.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(s.Context(), method, "http://"+s.api+"/api/"+path, r)
	if err != nil {
		s.Fatal(err)
	}
	req.SetBasicAuth(peer.AMQPUser, peer.AMQPPassword)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	if answer != nil {
		if err := json.Unmarshal(b, answer); err != nil {
			s.Fatalf("%s %s: %v\n%s", method, path, err, b)
		}
	} else if resp.StatusCode >= 400 {
		s.Logf("%s %s: %s %s", method, path, resp.Status, b)
	}
	return resp.StatusCode
}

// put changes something over the management API.
func (s *script) put(path string, body any) {
	s.Helper()
	if status := s.callAPI("PUT", path, body, nil); status/100 != 2 {
		s.Fatalf("PUT %s: %d", path, status)
	}
}

// list asks the management API for a list.
func (s *script) list(path string) (list []object) {
	s.Helper()
	if status := s.callAPI("GET", path, nil, &list); status != 200 {
		s.Fatalf("GET %s: %d", path, status)
	}
	return list
}

// user makes a user with permissions in the virtual host "/" and connects the script as that user.
func (s *script) user(configure, write, read string) (name string) {
	s.Helper()
	name = "u." + s.q
	s.put("users/"+name, object{"password": "secret", "tags": ""})
	s.put("permissions/%2F/"+name, object{"configure": configure, "write": write, "read": read})
	s.connect(amqpraw.Options{User: name, Password: "secret"})
	return name
}

// managementFacts are about what an operator can do, and what the users see of it.
var managementFacts = []fact{
	{"permissions", func(s *script) {
		s.declare(s.q, nil)
		s.exchange(s.x, "fanout", nil)
		mine := s.q + "-mine"
		user := s.user(".*-mine$", ".*-mine$|^amq.default$", ".*-mine$")
		as := func() { s.connect(amqpraw.Options{User: user, Password: "secret"}) }
		as()
		refused := func(what, name, method string, args ...any) {
			s.Helper()
			_, err := s.ch.Call(method, args...)
			s.isClosed(err, channelScope, 403, fmt.Sprintf("ACCESS_REFUSED - access to %s '%s' in vhost '/' refused for user '%s'", what, name, user))
		}
		s.declare(mine, nil)
		s.exchange(mine, "fanout", nil)
		s.bind(mine, mine, "")
		s.publish("", mine, nil, "x")
		s.equal("body", string(s.wait(mine).Body), "x")
		refused("queue", s.q, "queue.declare", "queue", s.q, "durable", true)
		refused("queue", s.q, "basic.consume", "queue", s.q)
		refused("queue", s.q, "basic.get", "queue", s.q)
		refused("queue", s.q, "queue.purge", "queue", s.q)
		refused("queue", s.q, "queue.delete", "queue", s.q)
		refused("queue", s.q, "queue.bind", "queue", s.q, "exchange", mine)
		refused("exchange", s.x, "queue.bind", "queue", mine, "exchange", s.x)
		refused("exchange", s.x, "exchange.declare", "exchange", s.x, "type", "direct")
		refused("exchange", s.x, "exchange.delete", "exchange", s.x)
		refused("exchange", s.x, "exchange.bind", "source", s.x, "destination", mine)
		s.publish(s.x, "", nil, "x")
		s.fails(channelScope, 403, "ACCESS_REFUSED - access to exchange '"+s.x+"' in vhost '/' refused for user '"+user+"'")
	}},
	{"permissions for a dead-letter exchange", func(s *script) {
		s.user(".*-mine$", ".*-mine$", ".*-mine$")
		_, err := s.ch.Call("queue.declare", "queue", s.q+"-mine", "arguments", amqpraw.Table{"x-dead-letter-exchange": "another"})
		s.isClosed(err, channelScope, 403, "ACCESS_REFUSED - ")
	}},
	{"server-named queues", func(s *script) {
		s.user("^$|^amq.gen", ".*", ".*")
		s.call("queue.declare", "exclusive", true)
	}},
	{"topic permissions", func(s *script) {
		s.exchange(s.x, "topic", nil)
		user := s.user(".*", ".*", ".*")
		s.put("topic-permissions/%2F/"+user, object{"exchange": s.x, "write": `^a\.`, "read": `^a\.`})
		s.connect(amqpraw.Options{User: user, Password: "secret"})
		s.declare(s.q, nil)
		s.bind(s.q, s.x, "a.#")
		s.publish(s.x, "a.b", nil, "x")
		s.equal("key", s.wait(s.q).String("routing-key"), "a.b")
		_, err := s.ch.Call("queue.bind", "queue", s.q, "exchange", s.x, "routing-key", "b.#")
		s.isClosed(err, channelScope, 403, "ACCESS_REFUSED - access to topic 'b.#' in exchange '"+s.x+"' in vhost '/' refused for user '"+user+"'")
		s.connect(amqpraw.Options{User: user, Password: "secret"})
		s.publish(s.x, "b.c", nil, "x")
		s.fails(channelScope, 403, "ACCESS_REFUSED - access to topic 'b.c' in exchange '"+s.x+"' in vhost '/' refused for user '"+user+"'")
	}},
	{"virtual host without permission", func(s *script) {
		s.put("vhosts/"+s.q, object{})
		user := s.user("", "", "")
		_, err := amqpraw.Dial(s.addr, amqpraw.Options{User: user, Password: "secret", Vhost: s.q})
		s.isClosed(err, connectionScope, 530, "NOT_ALLOWED - access to vhost '"+s.q+"' refused for user '"+user+"'")
	}},
	{"virtual hosts are apart", func(s *script) {
		s.put("vhosts/"+s.q, object{})
		s.put("permissions/"+s.q+"/guest", object{"configure": ".*", "write": ".*", "read": ".*"})
		s.declare(s.q, nil)
		s.connect(amqpraw.Options{Vhost: s.q})
		_, err := s.ch.Call("queue.declare", "queue", s.q, "passive", true)
		closed, _ := closedOf(err)
		if closed == nil || closed.Code != 404 || !strings.Contains(closed.Text, "in vhost '"+s.q+"'") {
			s.Errorf("error %v", err)
		}
	}},
	{"connections of a virtual host", func(s *script) {
		s.put("vhosts/"+s.q, object{})
		s.put("permissions/"+s.q+"/guest", object{"configure": ".*", "write": ".*", "read": ".*"})
		s.put("vhost-limits/"+s.q+"/max-connections", object{"value": 1})
		s.connect(amqpraw.Options{Vhost: s.q})
		s.refusedLogin(amqpraw.Options{Vhost: s.q}, 530, "NOT_ALLOWED - access to vhost '"+s.q+"' refused for user 'guest': connection limit (1) is reached")
	}},
	{"queues of a virtual host", func(s *script) {
		s.put("vhosts/"+s.q, object{})
		s.put("permissions/"+s.q+"/guest", object{"configure": ".*", "write": ".*", "read": ".*"})
		s.put("vhost-limits/"+s.q+"/max-queues", object{"value": 1})
		s.connect(amqpraw.Options{Vhost: s.q})
		s.declare("one", nil)
		s.declare("one", nil)
		_, err := s.ch.Call("queue.declare", "queue", "two")
		s.isClosed(err, channelScope, 406, "PRECONDITION_FAILED - cannot declare queue 'two': queue limit in vhost '"+s.q+"' (1) is reached")
	}},
	{"connections of a user", func(s *script) {
		user := s.user(".*", ".*", ".*")
		s.put("user-limits/"+user+"/max-connections", object{"value": 1})
		s.refusedLogin(amqpraw.Options{User: user, Password: "secret"}, 530, "NOT_ALLOWED - connection refused for user '"+user+"': user connection limit (1) is reached")
	}},
	{"channels of a user", func(s *script) {
		user := s.user(".*", ".*", ".*")
		s.put("user-limits/"+user+"/max-channels", object{"value": 1})
		_, err := s.c.Channel(2)
		for n := uint16(3); s.rabbitmq && err == nil && n < 1000; n++ { // it takes note of channels some time later
			_, err = s.c.Channel(n)
		}
		s.isClosed(err, connectionScope, 530, "NOT_ALLOWED - number of channels opened for user '"+user+"' has reached the maximum allowed user limit of (1)")
	}},
	{"operator closes a connection", func(s *script) {
		p := amqpraw.Capabilities()
		p["connection_name"] = s.q
		s.connect(amqpraw.Options{Properties: p})
		begin := time.Now()
		for {
			for _, c := range s.list("connections") {
				props, _ := c["client_properties"].(object)
				if props["connection_name"] != s.q {
					continue
				}
				name, _ := c["name"].(string)
				if status := s.callAPI("DELETE", "connections/"+url.PathEscape(name), nil, nil); status != 204 {
					s.Fatalf("status %d", status)
				}
				s.isClosed(s.c.Wait(amqpraw.Patience), connectionScope, 320, "CONNECTION_FORCED - ")
				return
			}
			if time.Since(begin) > amqpraw.Patience { // RabbitMQ does not know it at once
				s.Fatal("the connection is not listed")
			}
			pause(100 * time.Millisecond)
		}
	}},
	{"virtual host is deleted", func(s *script) {
		s.put("vhosts/"+s.q, object{})
		s.put("permissions/"+s.q+"/guest", object{"configure": ".*", "write": ".*", "read": ".*"})
		s.connect(amqpraw.Options{Vhost: s.q})
		if status := s.callAPI("DELETE", "vhosts/"+s.q, nil, nil); status != 204 {
			s.Errorf("status %d", status)
		}
		s.isClosed(s.c.Wait(amqpraw.Patience), connectionScope, 320, "CONNECTION_FORCED - ")
	}},
	{"policy", func(s *script) {
		s.put("policies/%2F/"+s.q, object{
			"pattern": "^" + s.q + "$", "apply-to": "queues",
			"definition": object{"message-ttl": 30, "dead-letter-exchange": "", "dead-letter-routing-key": s.q + ".dead"},
		})
		s.declare(s.q, nil)
		s.declare(s.q+".dead", nil)
		s.publish("", s.q, nil, "x")
		e := s.wait(s.q + ".dead")
		s.equal("reason", s.deaths(e)[0]["reason"], "expired")
	}},
	{"policy of a queue that is there", func(s *script) {
		s.declare(s.q, nil)
		s.publish("", s.q, nil, "1")
		s.publish("", s.q, nil, "2")
		s.becomes(s.q, 2)
		s.put("policies/%2F/"+s.q, object{"pattern": "^" + s.q + "$", "definition": object{"max-length": 1}})
		s.becomes(s.q, 1)
		s.equal("left", s.messages(s.q), "2")
	}},
	{"policies by priority", func(s *script) {
		s.put("policies/%2F/"+s.q+"-1", object{"pattern": "^" + s.q + "$", "definition": object{"max-length": 1}, "priority": 1})
		s.put("policies/%2F/"+s.q+"-2", object{"pattern": "^" + s.q + "$", "definition": object{"max-length": 3}, "priority": 2})
		s.declare(s.q, nil)
		for i := range 5 {
			s.publish("", s.q, nil, fmt.Sprint(i))
		}
		s.sync()
		s.equal("left", s.messages(s.q), "2 3 4")
	}},
	{"operator policy", func(s *script) {
		s.put("operator-policies/%2F/"+s.q, object{"pattern": "^" + s.q + "$", "definition": object{"max-length": 2}, "apply-to": "queues"})
		s.put("policies/%2F/"+s.q, object{"pattern": "^" + s.q + "$", "definition": object{"max-length": 4}})
		s.declare(s.q, nil)
		for i := range 5 {
			s.publish("", s.q, nil, fmt.Sprint(i))
		}
		s.sync()
		s.equal("left", s.messages(s.q), "3 4")
	}},
	{"alternate exchange by policy", func(s *script) {
		s.put("policies/%2F/"+s.q, object{"pattern": "^" + s.x + "$", "apply-to": "exchanges", "definition": object{"alternate-exchange": "amq.fanout"}})
		s.exchange(s.x, "direct", nil)
		s.declare(s.q, nil)
		s.bind(s.q, "amq.fanout", "")
		s.publish(s.x, "nowhere", nil, s.q)
		s.equal("exchange", s.wait(s.q).String("exchange"), s.x)
	}},
	{"definitions", func(s *script) {
		s.call("queue.declare", "queue", s.q, "durable", true, "arguments", amqpraw.Table{"x-max-length": 7})
		s.call("exchange.declare", "exchange", s.x, "type", "topic", "durable", true)
		s.call("queue.bind", "queue", s.q, "exchange", s.x, "routing-key", "a.*")
		var all object
		if status := s.callAPI("GET", "definitions", nil, &all); status != 200 {
			s.Fatalf("status %d", status)
		}
		for _, kind := range []string{"users", "vhosts", "permissions", "topic_permissions", "parameters", "policies", "queues", "exchanges", "bindings"} {
			if _, ok := all[kind].([]any); !ok {
				s.Errorf("no %s in the definitions", kind)
			}
		}
		mine := make(object)
		for _, kind := range []string{"queues", "exchanges", "bindings"} {
			list, _ := all[kind].([]any)
			var kept []any
			for _, x := range list {
				if o, _ := x.(object); o["name"] == s.q || o["name"] == s.x || o["source"] == s.x {
					kept = append(kept, x)
				}
			}
			if len(kept) != 1 {
				s.Errorf("%d %s", len(kept), kind)
			}
			mine[kind] = kept
		}
		s.call("queue.delete", "queue", s.q)
		s.call("exchange.delete", "exchange", s.x)
		if status := s.callAPI("POST", "definitions", mine, nil); status/100 != 2 {
			s.Fatalf("status %d", status)
		}
		s.call("queue.declare", "queue", s.q, "durable", true, "arguments", amqpraw.Table{"x-max-length": 7})
		s.publish(s.x, "a.b", nil, "x")
		s.wait(s.q)
	}},
	{"publish and get", func(s *script) {
		s.declare(s.q, nil)
		message := object{"properties": object{"message_id": "7", "headers": object{"a": 1}}, "routing_key": s.q, "payload": "hello", "payload_encoding": "string"}
		var answer object
		s.callAPI("POST", "exchanges/%2F/amq.default/publish", message, &answer)
		s.equal("routed", answer["routed"], true)
		s.equal("id", s.wait(s.q).Props["message-id"], "7")
		s.publish("", s.q, amqpraw.Props{"content-type": "text/plain"}, "there")
		s.becomes(s.q, 1)
		var list []object
		s.callAPI("POST", "queues/%2F/"+url.PathEscape(s.q)+"/get", object{"count": 5, "ackmode": "ack_requeue_false", "encoding": "auto"}, &list)
		if len(list) != 1 || list[0]["payload"] != "there" {
			s.Errorf("%v", list)
		}
		s.equal("messages", s.count(s.q), 0)
	}},
	{"what is listed", func(s *script) {
		s.call("queue.declare", "queue", s.q, "durable", true)
		s.consume(s.q, "tag")
		var q object
		if status := s.callAPI("GET", "queues/%2F/"+url.PathEscape(s.q), nil, &q); status != 200 {
			s.Fatalf("status %d", status)
		}
		s.equal("name", q["name"], s.q)
		s.equal("durable", q["durable"], true)
		s.equal("vhost", q["vhost"], "/")
		s.equal("type", q["type"], "classic")
		if status := s.callAPI("GET", "queues/%2F/no.such", nil, new(object)); status != 404 {
			s.Errorf("status %d", status)
		}
		for _, path := range []string{"overview", "nodes", "connections", "channels", "consumers", "exchanges", "queues", "bindings", "vhosts", "users", "permissions", "policies", "whoami"} {
			if status := s.callAPI("GET", path, nil, new(any)); status != 200 {
				s.Errorf("%s: status %d", path, status)
			}
		}
		resp, err := http.Get("http://" + s.api + "/api/overview")
		if err != nil {
			s.Fatal(err)
		}
		resp.Body.Close()
		s.equal("status without a password", resp.StatusCode, 401)
	}},
}
