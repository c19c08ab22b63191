package amqpbroker

import "github.com/quartet-mq/quartet/amqp/amqpserver"

// Events tell what happens. Each may be nil. They are called synchronously, some with locks held: they must be quick and
// must not call the broker.
type Events struct {
	// Connected: a client has opened a virtual host. Disconnected: its connection has ended; cause is nil when the client
	// closed it.
	Connected    func(c *amqpserver.Conn, vhost string)
	Disconnected func(c *amqpserver.Conn, cause error)

	// VhostCreated, VhostDeleted and so on: there is one, or not any more.
	VhostCreated, VhostDeleted        func(vhost string)
	ExchangeDeclared, ExchangeDeleted func(vhost, exchange string)
	QueueDeclared, QueueDeleted       func(vhost, queue string)

	// Alarm: publishers are blocked since there is too little of something, "memory" or "disk", or not any more.
	Alarm func(what string, on bool)
}
