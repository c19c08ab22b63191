// Package amqpbroker is a broker for AMQP 0-9-1 that users of RabbitMQ can move to.
package amqpbroker
