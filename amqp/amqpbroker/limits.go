package amqpbroker

import (
	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// The limits of users and virtual hosts.
const (
	limitConnections = "max-connections" // of users and virtual hosts
	limitChannels    = "max-channels"    // of users
	limitQueues      = "max-queues"      // of virtual hosts
)

// checkUserLimit checks the name of a limit of a user.
func checkUserLimit(name string, n int64) error {
	if name != limitConnections && name != limitChannels {
		return invalid("Unrecognised terms [{<<\"%s\">>,%d}] in user-limits", name, n)
	}
	return nil
}

// checkVhostLimit checks the name of a limit of a virtual host.
func checkVhostLimit(name string, n int64) error {
	if name != limitConnections && name != limitQueues {
		return invalid("Unrecognised terms [{<<\"%s\">>,%d}] in limits", name, n)
	}
	return nil
}

// userLimit returns a limit of a user; ok is false when there is none.
func (r *registry) userLimit(user, limit string) (n int64, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if u := r.users[user]; u != nil {
		n, ok = u.Limits[limit]
	}
	return n, ok && n >= 0
}

// vhostLimit returns a limit of a virtual host; ok is false when there is none.
func (r *registry) vhostLimit(vhost, limit string) (n int64, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n, ok = r.limits[vhost][limit]
	return n, ok && n >= 0
}

// checkConnections checks that another connection may be opened: ofUser and inVhost count those that there are.
func (r *registry) checkConnections(user, vhost string, ofUser, inVhost int) error {
	if n, ok := r.userLimit(user, limitConnections); ok && int64(ofUser) >= n {
		return amqp091.HardError(amqp091.NotAllowed, "connection refused for user '%s': user connection limit (%d) is reached", user, n)
	}
	if n, ok := r.vhostLimit(vhost, limitConnections); ok && int64(inVhost) >= n {
		return amqp091.HardError(amqp091.NotAllowed,
			"access to vhost '%s' refused for user '%s': connection limit (%d) is reached", vhost, user, n)
	}
	return nil
}

// checkChannels checks that another channel may be opened: ofUser counts those that the user has.
func (r *registry) checkChannels(user string, ofUser int) error {
	if n, ok := r.userLimit(user, limitChannels); ok && int64(ofUser) >= n {
		return amqp091.HardError(amqp091.NotAllowed,
			"number of channels opened for user '%s' has reached the maximum allowed user limit of (%d)", user, n)
	}
	return nil
}

// checkQueues checks that another queue may be declared: inVhost counts those that there are.
func (r *registry) checkQueues(vhost, queue string, inVhost int) error {
	if n, ok := r.vhostLimit(vhost, limitQueues); ok && int64(inVhost) >= n {
		return amqp091.SoftError(amqp091.PreconditionFailed,
			"cannot declare queue '%s': queue limit in vhost '%s' (%d) is reached", queue, vhost, n)
	}
	return nil
}
