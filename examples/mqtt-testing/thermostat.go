// Package thermostat is a small MQTT program, and its test shows how package mqtttest tests one: with a real broker in
// memory, in fake time, over a network that breaks, and with a server that is played by hand.
//
// The program reads a temperature from room/temp and says on room/heating whether to heat.
package thermostat

import (
	"context"
	"strconv"

	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttclient"
)

// Run switches the heating on below a temperature and off from it on, until ctx ends or the client does. What is no
// number is ignored.
func Run(ctx context.Context, c *mqttclient.Client, below float64) error {
	temp, err := c.Subscribe(ctx, nil, mqtt.Subscription{Filter: "room/temp", QoS: mqtt.QoS1})
	if err != nil {
		return err
	}
	defer temp.Close()
	for m, err := range temp.Messages(ctx) {
		if err != nil {
			return err
		}
		t, err := strconv.ParseFloat(string(m.Payload), 64)
		if err != nil {
			continue
		}
		state := "off"
		if t < below {
			state = "on"
		}
		order := &mqttclient.Message{Topic: "room/heating", Payload: []byte(state), QoS: mqtt.QoS1, Retain: true}
		if err := c.Publish(ctx, order); err != nil {
			return err
		}
	}
	return nil
}
