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
		Name: "nats",
		Prepare: func(ctx context.Context, bin string) error {
			return buildOwn(ctx, bin, "natsd")
		},
		Command: func(s *Setup) (*exec.Cmd, error) {
			if s.TLS != "" || s.WS != "" {
				return nil, errors.ErrUnsupported
			}
			return exec.Command(filepath.Join(s.Bin, "natsd"), "-tcp", s.TCP, "-dir", filepath.Join(s.Dir, "js")), nil
		},
		Version: func() string { return moduleVersion("github.com/nats-io/nats-server/v2") },
	}
}
