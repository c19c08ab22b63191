package kafkaclient

import (
	"context"
	"sync"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// CoordinatorKind says what a coordinator is for.
type CoordinatorKind int8

// The kinds of coordinators.
const (
	GroupCoordinator       CoordinatorKind = 0
	TransactionCoordinator CoordinatorKind = 1
	ShareCoordinator       CoordinatorKind = 2
)

// coordinators are those that are known.
type coordinators struct {
	mu    sync.Mutex
	known map[coordinated]kafkawire.BrokerID
}

// maxCoordinators bounds them: who administers many groups asks again.
const maxCoordinators = 4096

// coordinated is what has a coordinator.
type coordinated struct {
	kind CoordinatorKind
	key  string // group or transactional id
}

// coordinator returns the coordinator for a group or transactional id, and asks for it if need be, once.
func (c *Client) coordinator(ctx context.Context, kind CoordinatorKind, key string) (kafkawire.BrokerID, error) {
	k := coordinated{kind, key}
	c.coordinators.mu.Lock()
	id, ok := c.coordinators.known[k]
	c.coordinators.mu.Unlock()
	if ok && c.broker(id) != nil {
		return id, nil
	}
	id, err := c.findCoordinator(ctx, k)
	if err != nil {
		return -1, err
	}
	c.coordinators.mu.Lock()
	defer c.coordinators.mu.Unlock()
	if c.coordinators.known == nil {
		c.coordinators.known = make(map[coordinated]kafkawire.BrokerID)
	}
	for other := range c.coordinators.known {
		if len(c.coordinators.known) < maxCoordinators {
			break
		}
		delete(c.coordinators.known, other)
	}
	c.coordinators.known[k] = id
	return id, nil
}

func (c *Client) findCoordinator(ctx context.Context, k coordinated) (kafkawire.BrokerID, error) {
	req := &kafkawire.FindCoordinatorRequest{KeyType: int8(k.kind), CoordinatorKeys: []string{k.key}}
	resp, err := c.requestAny(ctx, &coordinatorRequest{FindCoordinatorRequest: req, key: k.key}, nil)
	if err != nil {
		return -1, err
	}
	r := resp.(*kafkawire.FindCoordinatorResponse)
	found := kafkawire.FindCoordinatorResponseCoordinator{Key: k.key, NodeID: r.NodeID, Host: r.Host, Port: r.Port,
		ErrorCode: r.ErrorCode, ErrorMessage: r.ErrorMessage}
	for _, x := range r.Coordinators {
		if x.Key == k.key {
			found = x
		}
	}
	if err := remote(found.ErrorCode, found.ErrorMessage); err != nil {
		return -1, err
	}
	c.meta.addBroker(found.NodeID, found.Host, found.Port, nil)
	return found.NodeID, nil
}

// coordinatorRequest is a FindCoordinatorRequest for one key in every version.
type coordinatorRequest struct {
	*kafkawire.FindCoordinatorRequest
	key string
}

func (r *coordinatorRequest) Append(dst []byte, version int16) ([]byte, error) {
	req := kafkawire.FindCoordinatorRequest{KeyType: r.KeyType}
	if version < 4 {
		req.CoordinatorKey = r.key
	} else {
		req.CoordinatorKeys = []string{r.key}
	}
	return req.Append(dst, version)
}

// forgetCoordinator makes the next call ask again. id is the one that was wrong.
func (c *Client) forgetCoordinator(kind CoordinatorKind, key string, id kafkawire.BrokerID) {
	k := coordinated{kind, key}
	c.coordinators.mu.Lock()
	defer c.coordinators.mu.Unlock()
	if known, ok := c.coordinators.known[k]; ok && known == id {
		delete(c.coordinators.known, k)
	}
}

// requestCoordinator finds the coordinator of a group or transactional id and sends it a request, once. code returns the
// error code of a response: when it says that the coordinator is somewhere else, the next call looks for it. Such codes,
// and all others, are the caller's to look at, too, unless it takes the error that comes of them.
func (c *Client) requestCoordinator(ctx context.Context, kind CoordinatorKind, key string, req kafkawire.Request, o *sendOptions,
	code func(kafkawire.Response) kafkawire.ErrorCode) (kafkawire.Response, error) {
	id, err := c.coordinator(ctx, kind, key)
	if err != nil {
		return nil, err
	}
	resp, err := c.requestBroker(ctx, id, req, o)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			c.forgetCoordinator(kind, key, id)
		}
	case code != nil && code(resp).CoordinatorMoved():
		c.forgetCoordinator(kind, key, id)
	}
	return resp, err
}

// RequestCoordinator sends a request to the coordinator of a group or transactional id, and looks for that if need be. It
// tries again without a connection, for as long as Options.APITimeout allows, and does not look at errors within the
// response, which may say that the coordinator has moved: then ForgetCoordinator makes the next call look for it.
func (c *Client) RequestCoordinator(ctx context.Context, kind CoordinatorKind, key string, req kafkawire.Request) (kafkawire.Response, error) {
	var resp kafkawire.Response
	err := c.retry(ctx, func(ctx context.Context) error {
		var err error
		resp, err = c.requestCoordinator(ctx, kind, key, req, &sendOptions{lane: laneAdmin}, nil)
		return err
	})
	return resp, err
}

// ForgetCoordinator makes the client ask for the coordinator of a group or transactional id when it is needed next.
func (c *Client) ForgetCoordinator(kind CoordinatorKind, key string) {
	c.coordinators.mu.Lock()
	defer c.coordinators.mu.Unlock()
	delete(c.coordinators.known, coordinated{kind, key})
}
