package peer

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
)

// NATS is nats-server with MQTT and JetStream, built from cmd/natsd. It has a plain listener only and speaks 3.1.1 only.
func NATS() Broker {
	return Broker{
		Name:    "nats",
		MQTT:    true,
		Durable: "JetStream in files with sync_interval always: syncs each write to a stream",
		Prepare: func(ctx context.Context, bin string) error {
			return buildOwn(ctx, bin, "natsd")
		},
		Command: func(s *Setup) (*exec.Cmd, error) {
			if s.TLS != "" || s.WS != "" {
				return nil, errors.ErrUnsupported
			}
			args := []string{"-tcp", s.TCP, "-dir", filepath.Join(s.Dir, "js")}
			if s.Data != "" {
				args = []string{"-tcp", s.TCP, "-dir", s.Data, "-sync"}
			}
			return exec.Command(filepath.Join(s.Bin, "natsd"), args...), nil
		},
		Version: func() string { return moduleVersion("github.com/nats-io/nats-server/v2") },
	}
}
