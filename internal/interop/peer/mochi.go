package peer

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
)

// Mochi is the mochi-mqtt broker, built from cmd/mochid.
func Mochi() Broker {
	return Broker{
		Name:    "mochi",
		MQTT:    true,
		Durable: "its pebble store, the fastest it has, which syncs nothing",
		Prepare: prepareMochi,
		Command: func(s *Setup) (*exec.Cmd, error) { return mochid(s) },
		Version: mochiVersion,
	}
}

// MochiSync is [Mochi] with a store that syncs. It is durable or not at all.
func MochiSync() Broker {
	return Broker{
		Name:    "mochi-sync",
		MQTT:    true,
		Durable: "its pebble store, with a sync for each write",
		Prepare: prepareMochi,
		Command: func(s *Setup) (*exec.Cmd, error) {
			if s.Data == "" {
				return nil, errors.ErrUnsupported
			}
			return mochid(s, "-sync")
		},
		Version: mochiVersion,
	}
}

func prepareMochi(ctx context.Context, bin string) error { return buildOwn(ctx, bin, "mochid") }

func mochid(s *Setup, more ...string) (*exec.Cmd, error) {
	args := []string{"-tcp", s.TCP, "-tls", s.TLS, "-ws", s.WS, "-cert", s.Cert, "-key", s.Key, "-data", s.Data}
	return exec.Command(filepath.Join(s.Bin, "mochid"), append(args, more...)...), nil
}

func mochiVersion() string { return moduleVersion("github.com/mochi-mqtt/server/v2") }

// buildOwn builds one of this module's commands.
func buildOwn(ctx context.Context, bin, name string) error {
	dir, err := moduleDir(ctx, "github.com/quartet-mq/quartet/internal/interop")
	if err != nil {
		return err
	}
	return goBuild(ctx, dir, bin, name, "./cmd/"+name)
}
