// Package billing is a small AMQP program, and its test shows how package amqptest tests one: with a real broker in memory,
// in fake time, over a network that breaks, and with a broker that is played by hand.
//
// The program takes orders, numbers of pieces, from the queue orders and publishes what they cost to the queue bills. An
// order is acknowledged when the broker has confirmed its bill, so that none is lost; after a fault there may be two bills.
// What is no number goes to the queue rejected.
package billing

import (
	"context"
	"errors"
	"strconv"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/amqp/amqpclient091"
)

// topology is what the program needs: orders that it rejects go to the queue rejected.
var topology = amqpclient091.Topology{Queues: []amqpclient091.Queue{
	{Name: "orders", Durable: true, Arguments: amqp091.Table{
		{Key: "x-dead-letter-exchange", Value: ""},
		{Key: "x-dead-letter-routing-key", Value: "rejected"},
	}},
	{Name: "bills", Durable: true},
	{Name: "rejected", Durable: true},
}}

// Run makes bills at a price for each piece, until ctx ends or the client does.
func Run(ctx context.Context, c *amqpclient091.Client, price int) error {
	if err := c.Declare(ctx, &topology); err != nil {
		return err
	}
	orders, err := c.Consume(ctx, "orders", &amqpclient091.ConsumeOptions{Tag: "billing", Prefetch: 10})
	if err != nil {
		return err
	}
	defer orders.Close()
	for order, err := range orders.Deliveries(ctx) {
		if err != nil {
			return err
		}
		pieces, err := strconv.Atoi(string(order.Body))
		if err != nil {
			err = order.Reject()
		} else {
			err = bill(ctx, c, order, pieces*price)
		}
		if err != nil && !comesAgain(err) {
			return err
		}
	}
	return nil
}

// bill publishes the bill of an order and acknowledges the order.
func bill(ctx context.Context, c *amqpclient091.Client, order *amqpclient091.Delivery, amount int) error {
	m := &amqpclient091.Message{
		RoutingKey: "bills",
		Mandatory:  true,
		Properties: amqp091.Properties{DeliveryMode: amqp091.Persistent, CorrelationID: order.Properties().MessageID},
		Body:       strconv.AppendInt(nil, int64(amount), 10),
	}
	if err := c.Publish(ctx, m); err != nil {
		return err
	}
	return order.Ack()
}

// comesAgain reports whether an error is about a connection that was lost: the broker delivers the order again.
func comesAgain(err error) bool {
	_, unknown := errors.AsType[*amqpclient091.UnknownError](err)
	return unknown || errors.Is(err, amqpclient091.ErrStale)
}
