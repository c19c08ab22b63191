//go:build race

package amqpbroker

const raceEnabled = true
