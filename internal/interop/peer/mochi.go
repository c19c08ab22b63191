package peer

import (
	"context"
	"os/exec"
	"path/filepath"
)

// Mochi is the mochi-mqtt broker, built from cmd/mochid.
func Mochi() Broker {
	return Broker{
		Name: "mochi",
		Prepare: func(ctx context.Context, bin string) error {
			return buildOwn(ctx, bin, "mochid")
		},
		Command: func(s *Setup) (*exec.Cmd, error) {
			return exec.Command(filepath.Join(s.Bin, "mochid"),
				"-tcp", s.TCP, "-tls", s.TLS, "-ws", s.WS, "-cert", s.Cert, "-key", s.Key), nil
		},
		Version: func() string { return moduleVersion("github.com/mochi-mqtt/server/v2") },
	}
}

// buildOwn builds one of this module's commands.
func buildOwn(ctx context.Context, bin, name string) error {
	dir, err := moduleDir(ctx, "github.com/quartet-mq/quartet/internal/interop")
	if err != nil {
		return err
	}
	return goBuild(ctx, dir, bin, name, "./cmd/"+name)
}
