package mqtttest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/internal/memnet"
	"github.com/quartet-mq/quartet/internal/script"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqtttest"
)

// converse plays a short conversation over a traced connection.
func converse(t *testing.T, trace *mqtttest.Trace, near mqtt.Role, v mqtt.Version) {
	c, s := memnet.Pipe()
	if near == mqtt.Client {
		c = trace.Wrap(c, near)
	} else {
		s = trace.Wrap(s, near)
	}
	client, server := mqtttest.NewPeer(t, c), mqtttest.NewPeer(t, s)
	connect := &mqtt.Connect{Version: v, ClientID: "c1", CleanStart: true, HasUsername: true, Username: "u", HasPassword: true, Password: []byte("p")}
	client.Send(connect)
	server.Expect(connect)
	server.Send(&mqtt.Connack{})
	client.Expect(&mqtt.Connack{})
	client.Send(hello("hi"))
	server.Expect(hello("hi"))
	client.SendBytes(0xc1, 0)
	client.Close()
	failure(t, func(tb testing.TB) { mqtttest.NewPeer(tb, server.Conn()).Expect(&mqtt.Pingreq{}) })
}

func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace mqtttest.Trace
		converse(t, &trace, mqtt.Client, mqtt.Version311)
		converse(t, &trace, mqtt.Server, mqtt.Version5)
		trace.Compare(t, "testdata/trace.txt")
	})
}

func TestTraceDiffers(t *testing.T) {
	if script.Updating() {
		t.Skip("-update accepts every trace")
	}
	golden := filepath.Join(t.TempDir(), "trace.txt")
	var trace mqtttest.Trace
	if message := failure(t, func(tb testing.TB) { trace.Compare(tb, golden) }); message == "" {
		t.Error("a golden file that is not there made no failure")
	}
	if err := os.WriteFile(golden, []byte("C PINGREQ\nS PINGRESP\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	c, s := memnet.Pipe()
	client, server := mqtttest.NewPeer(t, trace.Wrap(c, mqtt.Client)), mqtttest.NewPeer(t, s)
	client.Send(&mqtt.Connect{Version: mqtt.Version5, ClientID: "x"}, &mqtt.Pingreq{})
	server.Receive(mqtt.TypeConnect)
	server.Expect(&mqtt.Pingreq{})
	message := failure(t, func(tb testing.TB) { trace.Compare(tb, golden) })
	for _, want := range []string{"+ C CONNECT", "\n  C PINGREQ\n", "- S PINGRESP"} {
		if !strings.Contains(message, want) {
			t.Errorf("the message lacks %q:\n%s", want, message)
		}
	}
}
