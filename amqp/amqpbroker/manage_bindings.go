package amqpbroker

import (
	"crypto/md5"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// propertiesKey returns what tells a binding apart from others between the same ends: the routing key, escaped, with a hash
// of the arguments.
func propertiesKey(b *BindingDefinition) string {
	key := propertyEscape(b.RoutingKey)
	switch {
	case len(b.Arguments) > 0:
		sum := md5.Sum([]byte(argsID(amqp091.Table(b.Arguments))))
		return key + "~" + base64.RawURLEncoding.EncodeToString(sum[:8])
	case key == "":
		return "~"
	}
	return key
}

// propertyEscape escapes what is not unreserved in a URL, and the tilde.
func propertyEscape(s string) string {
	s = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	return strings.ReplaceAll(s, "~", "%7E")
}

func viewBindings(list []BindingDefinition) any {
	views := make([]bindingView, len(list))
	for i := range list {
		views[i] = bindingView{list[i], propertiesKey(&list[i])}
	}
	return listOf(views, func(v *bindingView) string { return v.RoutingKey })
}

func (c *call) bindings() (any, error) {
	var list []BindingDefinition
	for _, vhost := range c.vhosts() {
		for _, x := range c.m.b.exchangeNames(vhost) {
			list = append(list, c.m.b.bindingsFrom(vhost, x)...)
		}
	}
	return viewBindings(list), nil
}

func (c *call) bindingsOfSource() (any, error) {
	if _, ok := c.m.b.exchangeView(c.vars["vhost"], c.exchange()); !ok {
		return nil, errNotFound
	}
	return viewBindings(c.m.b.bindingsFrom(c.vars["vhost"], c.exchange())), nil
}

func (c *call) bindingsOfDestination() (any, error) {
	if _, ok := c.m.b.exchangeView(c.vars["vhost"], c.exchange()); !ok {
		return nil, errNotFound
	}
	return viewBindings(c.m.b.bindingsTo(c.vars["vhost"], destinationExchange, c.exchange())), nil
}

func (c *call) bindingsOfQueue() (any, error) {
	if _, ok := c.m.b.queueView(c.vars["vhost"], c.vars["queue"]); !ok {
		return nil, errNotFound
	}
	return viewBindings(c.m.b.bindingsTo(c.vars["vhost"], destinationQueue, c.vars["queue"])), nil
}

// ends returns a binding between the ends of the path.
func (c *call) ends() (BindingDefinition, error) {
	b := BindingDefinition{Source: c.exchange(), Vhost: c.vars["vhost"], Destination: c.vars["destination"]}
	switch c.vars["kind"] {
	case "q":
		b.DestinationType = destinationQueue
	case "e":
		b.DestinationType = destinationExchange
		if b.Destination == "amq.default" {
			b.Destination = ""
		}
	default:
		return b, errNotFound
	}
	return b, nil
}

// between returns the bindings between the ends of the path.
func (c *call) between() ([]BindingDefinition, error) {
	ends, err := c.ends()
	if err != nil {
		return nil, err
	}
	if _, ok := c.m.b.exchangeView(ends.Vhost, ends.Source); !ok {
		return nil, errNotFound
	}
	var ok bool
	if ends.DestinationType == destinationQueue {
		_, ok = c.m.b.queueView(ends.Vhost, ends.Destination)
	} else {
		_, ok = c.m.b.exchangeView(ends.Vhost, ends.Destination)
	}
	if !ok {
		return nil, errNotFound
	}
	var out []BindingDefinition
	for _, b := range c.m.b.bindingsTo(ends.Vhost, ends.DestinationType, ends.Destination) {
		if b.Source == ends.Source {
			out = append(out, b)
		}
	}
	return out, nil
}

func (c *call) bindingsBetween() (any, error) {
	list, err := c.between()
	if err != nil {
		return nil, err
	}
	return viewBindings(list), nil
}

func (c *call) postBinding() (any, error) {
	b, err := c.ends()
	if err != nil {
		return nil, err
	}
	in, err := c.body()
	if err != nil {
		return nil, err
	}
	if b.RoutingKey, err = in.text("routing_key"); err != nil {
		return nil, err
	}
	if b.Arguments, err = in.arguments(); err != nil {
		return nil, err
	}
	if err := c.m.b.putBinding(c.r.Context(), c.user.Name, b); err != nil {
		return nil, err
	}
	at := url.PathEscape(c.vars["destination"]) + "/" + url.PathEscape(propertiesKey(&b))
	return reply{http.StatusCreated, at, nil}, nil
}

// bound returns the binding of the path.
func (c *call) bound() (BindingDefinition, error) {
	list, err := c.between()
	if err != nil {
		return BindingDefinition{}, err
	}
	want := c.vars["props"]
	for _, b := range list {
		// Clients escape the key in the path or leave it as it is, so it comes with or without its own escapes.
		key := propertiesKey(&b)
		name, hash, hashed := strings.Cut(key, "~")
		if plain, ok := strings.CutSuffix(want, "~"+hash); key == want || (ok || !hashed) && propertyEscape(plain) == name {
			return b, nil
		}
	}
	return BindingDefinition{}, errNotFound
}

func (c *call) getBinding() (any, error) {
	b, err := c.bound()
	if err != nil {
		return nil, err
	}
	return bindingView{b, propertiesKey(&b)}, nil
}

func (c *call) deleteBinding() (any, error) {
	b, err := c.bound()
	if err != nil {
		return nil, err
	}
	if err := c.m.b.dropBinding(c.r.Context(), c.user.Name, b); err != nil {
		return nil, err
	}
	return deleted, nil
}
