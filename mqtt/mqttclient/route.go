package mqttclient

import (
	"slices"
	"strings"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/topic"
)

// routes finds the subscriptions of a message. Client.mu guards it.
type routes struct {
	subs    []*Subscription // in the order of Subscribe, without those that are leaving
	filters map[string][]*Subscription
	trie    *topic.Trie[*Subscription]
	ids     map[uint32]*Subscription
	nextID  uint32
	cache   map[string]*route
	targets []*Subscription // scratch
}

// route is what the cache knows of a topic: its name as a string and its subscriptions.
type route struct {
	name  string
	subs  []*Subscription
	valid bool // of subs
}

const (
	cacheTopics = 1024 // topics in the cache
	cacheLength = 256  // bytes of the longest of them
)

// matchPart returns the part of a filter that matches topics: all but the $share prefix.
func matchPart(filter string) string {
	if strings.HasPrefix(filter, "$share/") {
		if _, rest, shared, err := topic.ParseShared(filter); shared && err == nil {
			return rest
		}
	}
	return filter
}

func (r *routes) add(s *Subscription) {
	if r.filters == nil {
		r.filters = make(map[string][]*Subscription)
		r.ids = make(map[uint32]*Subscription)
		r.trie = topic.NewTrie[*Subscription](topic.MQTT)
	}
	r.nextID++
	s.id = r.nextID
	r.ids[s.id] = s
	r.subs = append(r.subs, s)
	for _, f := range s.filters {
		users := append(r.filters[f.Filter], s)
		r.filters[f.Filter] = users
		if len(users) > 1 {
			for _, u := range users {
				u.overlaps = true
			}
		}
		r.trie.Insert(matchPart(f.Filter), s)
	}
	r.forget()
}

// leave takes s out of the subscriptions that are made again after a lost session. It returns the filters that nobody
// uses any more. Messages are still routed to s until remove.
func (r *routes) leave(s *Subscription) (unused []string) {
	r.subs = slices.DeleteFunc(r.subs, func(t *Subscription) bool { return t == s })
	for _, f := range s.filters {
		users := slices.DeleteFunc(r.filters[f.Filter], func(t *Subscription) bool { return t == s })
		if len(users) > 0 {
			r.filters[f.Filter] = users
			continue
		}
		delete(r.filters, f.Filter)
		unused = append(unused, f.Filter)
	}
	return unused
}

// remove ends the routing to s.
func (r *routes) remove(s *Subscription) {
	delete(r.ids, s.id)
	for _, f := range s.filters {
		r.trie.Delete(matchPart(f.Filter), s)
	}
	r.forget()
}

// heirs returns those filters of s that others use too, with the subscriptions whose options count once s has left.
func (r *routes) heirs(s *Subscription) (heirs []*subscribeRef) {
	for _, f := range s.filters {
		users := r.filters[f.Filter]
		if len(users) < 2 || users[len(users)-1] != s {
			continue
		}
		h := users[len(users)-2]
		i := slices.IndexFunc(h.filters, func(g mqtt.Subscription) bool { return g.Filter == f.Filter })
		g := h.filters[i]
		g.RetainHandling = mqtt.RetainDontSend
		j := slices.IndexFunc(heirs, func(r *subscribeRef) bool { return r.s == h })
		if j < 0 {
			heirs = append(heirs, &subscribeRef{h, []mqtt.Subscription{g}})
			continue
		}
		heirs[j].filters = append(heirs[j].filters, g)
	}
	return heirs
}

// forget drops what the cache knows of subscriptions.
func (r *routes) forget() {
	for _, e := range r.cache {
		e.valid, e.subs = false, nil
	}
}

// find returns the topic's name and the subscriptions of p. The slice is valid until the next call.
func (r *routes) find(p *mqtt.Publish) (name string, subs []*Subscription) {
	e := r.lookup(p.Topic)
	if len(p.Properties) > 0 {
		if subs, ok := r.byID(p, e.name); ok {
			return e.name, subs
		}
	}
	if !e.valid && r.trie != nil {
		e.subs = e.subs[:0]
		for s := range r.trie.Match(e.name) {
			if !slices.Contains(e.subs, s) {
				e.subs = append(e.subs, s)
			}
		}
		e.valid = true
	}
	return e.name, e.subs
}

// lookup returns the cache's route of a topic, or a new one.
func (r *routes) lookup(name []byte) *route {
	if e := r.cache[string(name)]; e != nil {
		return e
	}
	e := &route{name: string(name)}
	if len(name) > cacheLength {
		return e
	}
	if r.cache == nil || len(r.cache) >= cacheTopics {
		r.cache = make(map[string]*route)
	}
	r.cache[e.name] = e
	return e
}

// byID finds the subscriptions by the subscription identifiers of a message. It reports false when there are none, or
// one is not known.
func (r *routes) byID(p *mqtt.Publish, name string) (subs []*Subscription, ok bool) {
	r.targets = r.targets[:0]
	for id := range p.Properties.SubscriptionIDs() {
		s := r.ids[id]
		if s == nil {
			return nil, false
		}
		ok = true
		r.target(s)
		if s.overlaps {
			r.sharers(s, name)
		}
	}
	return r.targets, ok
}

// sharers adds the other users of those filters of s that match.
func (r *routes) sharers(s *Subscription, name string) {
	for _, f := range s.filters {
		users := r.filters[f.Filter]
		if len(users) < 2 || users[len(users)-1] != s || !topic.MQTT.Match(matchPart(f.Filter), name) {
			continue
		}
		for _, u := range users {
			r.target(u)
		}
	}
}

func (r *routes) target(s *Subscription) {
	if !slices.Contains(r.targets, s) {
		r.targets = append(r.targets, s)
	}
}
