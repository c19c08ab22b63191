package interop

import (
	"fmt"
	"testing"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

func TestMQTTJS(t *testing.T) {
	need(t, "node", "js/node_modules/mqtt/package.json")
	p := startOurs(t, peer.Listeners{TLS: true, WS: true})
	for version := 3; version <= 5; version++ {
		v := fmt.Sprint(version)
		t.Run("TCP/"+v, func(t *testing.T) { run(t, "node", "js/check.js", "mqtt://"+p.TCP, v) })
		t.Run("TLS/"+v, func(t *testing.T) { run(t, "node", "js/check.js", "mqtts://"+p.TLS, v, p.CA) })
		t.Run("WS/"+v, func(t *testing.T) { run(t, "node", "js/check.js", "ws://"+p.WS+"/mqtt", v) })
	}
}
