package archtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/amqp/amqp091"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
	"github.com/quartet-mq/quartet/mqtt"
)

const earlyPage = "docs/quic-0rtt.md"

// earlyTable returns the classes that the page gives to the messages of one protocol.
func earlyTable(t *testing.T, protocol string) map[string]string {
	t.Helper()
	classes := make(map[string]string)
	within := false
	for line := range strings.Lines(load().texts[earlyPage]) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			within = title == protocol
		}
		if !within || !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), "|")
		name, class := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1])
		if name == "message" {
			continue
		}
		if _, twice := classes[name]; twice {
			t.Errorf("%s: %s is there twice", earlyPage, name)
		}
		classes[name] = class
	}
	if len(classes) < 10 {
		t.Fatalf("%s: %d messages of %s", earlyPage, len(classes), protocol)
	}
	return classes
}

// compareEarly compares the page with the code. What the code has and the page does not name must be never.
func compareEarly(t *testing.T, protocol string, code map[string]fmt.Stringer) {
	t.Helper()
	page := earlyTable(t, protocol)
	for name, class := range page {
		if got, ok := code[name]; !ok {
			t.Errorf("%s: there is no %s in %s", earlyPage, name, protocol)
		} else if got.String() != class {
			t.Errorf("%s says that %s of %s is %s, the code says %v", earlyPage, name, protocol, class, got)
		}
	}
	for name, class := range code {
		if _, ok := page[name]; !ok && class.String() != "never" {
			t.Errorf("%s does not name %s of %s, which is %v", earlyPage, name, protocol, class)
		}
	}
}

// TestEarlyData: the profile for early data that is written down is the one that the code keeps.
func TestEarlyData(t *testing.T) {
	t.Run("MQTT", func(t *testing.T) {
		scram := mqtt.Properties(nil).AppendString(mqtt.PropAuthenticationMethod, "SCRAM-SHA-256")
		code := make(map[string]fmt.Stringer)
		for name, p := range map[string]mqtt.Packet{
			"CONNECT":                               &mqtt.Connect{},
			"CONNECT with a password":               &mqtt.Connect{HasPassword: true},
			"CONNECT with an authentication method": &mqtt.Connect{Properties: scram},
			"AUTH":                                  &mqtt.Auth{},
			"SUBSCRIBE":                             &mqtt.Subscribe{},
			"UNSUBSCRIBE":                           &mqtt.Unsubscribe{},
			"PINGREQ":                               &mqtt.Pingreq{},
			"PUBLISH QoS 0":                         &mqtt.Publish{},
			"PUBLISH QoS 1":                         &mqtt.Publish{QoS: mqtt.QoS1},
			"PUBLISH QoS 2":                         &mqtt.Publish{QoS: mqtt.QoS2},
			"PUBACK":                                &mqtt.Puback{},
			"PUBREC":                                &mqtt.Pubrec{},
			"PUBREL":                                &mqtt.Pubrel{},
			"PUBCOMP":                               &mqtt.Pubcomp{},
			"DISCONNECT":                            &mqtt.Disconnect{},
			"CONNACK":                               &mqtt.Connack{},
			"SUBACK":                                &mqtt.Suback{},
			"UNSUBACK":                              &mqtt.Unsuback{},
			"PINGRESP":                              &mqtt.Pingresp{},
		} {
			code[name] = mqtt.EarlyData(p)
		}
		compareEarly(t, "MQTT", code)
	})
	t.Run("AMQP 0-9-1", func(t *testing.T) {
		code := make(map[string]fmt.Stringer)
		for _, m := range []amqp091.Method{
			&amqp091.ConnectionStart{}, &amqp091.ConnectionStartOK{}, &amqp091.ConnectionSecure{}, &amqp091.ConnectionSecureOK{},
			&amqp091.ConnectionTune{}, &amqp091.ConnectionTuneOK{}, &amqp091.ConnectionOpen{}, &amqp091.ConnectionOpenOK{},
			&amqp091.ConnectionClose{}, &amqp091.ConnectionCloseOK{}, &amqp091.ConnectionUpdateSecret{},
			&amqp091.ChannelOpen{}, &amqp091.ChannelFlow{}, &amqp091.ChannelFlowOK{}, &amqp091.ChannelClose{}, &amqp091.ChannelCloseOK{},
			&amqp091.AccessRequest{},
			&amqp091.ExchangeDeclare{}, &amqp091.ExchangeDelete{}, &amqp091.ExchangeBind{}, &amqp091.ExchangeUnbind{},
			&amqp091.QueueDeclare{}, &amqp091.QueueBind{}, &amqp091.QueueUnbind{}, &amqp091.QueuePurge{}, &amqp091.QueueDelete{},
			&amqp091.BasicQos{}, &amqp091.BasicConsume{}, &amqp091.BasicCancel{}, &amqp091.BasicPublish{}, &amqp091.BasicGet{},
			&amqp091.BasicAck{}, &amqp091.BasicNack{}, &amqp091.BasicReject{}, &amqp091.BasicRecover{}, &amqp091.BasicRecoverAsync{},
			&amqp091.ConfirmSelect{}, &amqp091.TxSelect{}, &amqp091.TxCommit{}, &amqp091.TxRollback{},
		} {
			name, _, _ := strings.Cut(fmt.Sprint(m), "(")
			code[name] = amqp091.EarlyData(m)
		}
		code["exchange.declare passive"] = amqp091.EarlyData(&amqp091.ExchangeDeclare{Passive: true})
		code["queue.declare passive"] = amqp091.EarlyData(&amqp091.QueueDeclare{Passive: true})
		code["basic.consume no-ack"] = amqp091.EarlyData(&amqp091.BasicConsume{NoAck: true})
		code["basic.get no-ack"] = amqp091.EarlyData(&amqp091.BasicGet{NoAck: true})
		compareEarly(t, "AMQP 0-9-1", code)
	})
	t.Run("Kafka", func(t *testing.T) {
		code := make(map[string]fmt.Stringer)
		for k := range kafkawire.APIKey(kafkawire.Keys) {
			code[k.String()] = kafkawire.EarlyData(k)
		}
		compareEarly(t, "Kafka", code)
	})
}
