package interop

import (
	"fmt"
	"testing"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// python is the interpreter with the packages of requirements.txt.
const python = "py/.venv/bin/python"

func TestPahoPython(t *testing.T) {
	t.Parallel() // it waits for programs most of the time
	need(t, python)
	p := startOurs(t, peer.Listeners{TLS: true, WS: true})
	for version := 3; version <= 5; version++ {
		v := fmt.Sprint(version)
		t.Run("TCP/"+v, func(t *testing.T) { run(t, python, "py/check_paho.py", p.TCP, v, "tcp") })
		t.Run("TLS/"+v, func(t *testing.T) { run(t, python, "py/check_paho.py", p.TLS, v, "tls", p.CA) })
		t.Run("WS/"+v, func(t *testing.T) { run(t, python, "py/check_paho.py", p.WS, v, "ws") })
	}
}

func TestGMQTT(t *testing.T) {
	need(t, python)
	p := startOurs(t, peer.Listeners{TLS: true})
	for version := 4; version <= 5; version++ {
		v := fmt.Sprint(version)
		t.Run("TCP/"+v, func(t *testing.T) { run(t, python, "py/check_gmqtt.py", p.TCP, v, "tcp") })
		t.Run("TLS/"+v, func(t *testing.T) { run(t, python, "py/check_gmqtt.py", p.TLS, v, "tls", p.CA) })
	}
}
