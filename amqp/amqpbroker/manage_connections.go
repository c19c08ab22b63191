package amqpbroker

import (
	"cmp"
	"io"
	"net/http"
	"slices"
)

// visibleConns returns the connections that the user may see, sorted by name: all in the virtual hosts that count for
// monitoring users, their own for others.
func (c *call) visibleConns() []*connView {
	vhost, one := c.vars["vhost"]
	var out []*connView
	for _, v := range c.m.b.connViews() {
		if (!one || v.Vhost == vhost) && (c.monitors() || v.User == c.user.Name) {
			v.Node = c.m.node
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b *connView) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func listConns(list []*connView) any {
	return listOf(list, func(v **connView) string { return (*v).Name })
}

func (c *call) connections() (any, error) { return listConns(c.visibleConns()), nil }

func (c *call) userConnections() (any, error) {
	list := slices.DeleteFunc(c.visibleConns(), func(v *connView) bool { return v.User != c.vars["user"] })
	return listConns(list), nil
}

// conn returns the connection of the path.
func (c *call) conn() (*connView, error) {
	for _, v := range c.visibleConns() {
		if v.Name == c.vars["connection"] {
			return v, nil
		}
	}
	return nil, errNotFound
}

func (c *call) getConnection() (any, error) { return c.conn() }

// reason is why a connection is closed, for its client.
func (c *call) reason() string {
	return cmp.Or(c.r.Header.Get("X-Reason"), "Closed via management plugin")
}

func (c *call) closeConnection() (any, error) {
	v, err := c.conn()
	if err != nil {
		return nil, err
	}
	if v.User != c.user.Name {
		if err := c.admit(accessAdmin); err != nil {
			return nil, err
		}
	}
	if c.m.b.closeConnections(func(o *connView) bool { return o.Name == v.Name }, c.reason()) == 0 {
		return nil, errNotFound
	}
	return deleted, nil
}

func (c *call) closeUserConnections() (any, error) {
	c.m.b.closeConnections(func(o *connView) bool { return o.User == c.vars["user"] }, c.reason())
	return deleted, nil
}

// visibleChannels returns the channels of the connections that the user may see.
func (c *call) visibleChannels() []*channelView {
	vhost, one := c.vars["vhost"]
	var out []*channelView
	for _, v := range c.m.b.channelViews() {
		if (!one || v.Vhost == vhost) && (c.monitors() || v.User == c.user.Name) {
			v.Node = c.m.node
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b *channelView) int {
		return cmp.Or(cmp.Compare(a.Connection.Name, b.Connection.Name), cmp.Compare(a.Number, b.Number))
	})
	return out
}

func (c *call) channels() (any, error) {
	return listOf(c.visibleChannels(), func(v **channelView) string { return (*v).Name }), nil
}

func (c *call) connectionChannels() (any, error) {
	conn, err := c.conn()
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(c.visibleChannels(), func(v *channelView) bool { return v.Connection.Name != conn.Name })
	return listOf(list, func(v **channelView) string { return (*v).Name }), nil
}

func (c *call) getChannel() (any, error) {
	for _, v := range c.visibleChannels() {
		if v.Name != c.vars["channel"] {
			continue
		}
		v.ConsumerList = []*consumerView{}
		for _, o := range c.m.b.consumerViews(v.Vhost) {
			if o.Channel.Name == v.Name {
				o.Channel.Node = c.m.node
				v.ConsumerList = append(v.ConsumerList, o)
			}
		}
		return v, nil
	}
	return nil, errNotFound
}

func (c *call) consumers() (any, error) {
	out := []*consumerView{}
	for _, vhost := range c.vhosts() {
		for _, v := range c.m.b.consumerViews(vhost) {
			if c.monitors() || v.Channel.User == c.user.Name {
				v.Channel.Node = c.m.node
				out = append(out, v)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *consumerView) int {
		return cmp.Or(cmp.Compare(a.Queue.Vhost, b.Queue.Vhost), cmp.Compare(a.Queue.Name, b.Queue.Name))
	})
	return listOf(out, func(v **consumerView) string { return (*v).Tag }), nil
}

// yes tells whether a parameter of the query is true.
func (c *call) yes(name string) bool { return c.r.URL.Query().Get(name) == "true" }

// read reads the body.
func (c *call) read(limit int64) ([]byte, error) {
	r := http.MaxBytesReader(c.w, c.r.Body, limit)
	return io.ReadAll(r)
}
