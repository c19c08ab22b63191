package peer

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
)

// Kfake is kfake, the broker that franz-go brings for tests, built from cmd/kfaked. It has a plain listener only.
func Kfake() Broker {
	return Broker{
		Name:    "kfake",
		Kafka:   true,
		Durable: "on disk",
		Prepare: func(ctx context.Context, bin string) error { return buildOwn(ctx, bin, "kfaked") },
		Command: func(s *Setup) (*exec.Cmd, error) {
			if s.Kafkas != "" || s.SASL {
				return nil, errors.ErrUnsupported
			}
			args := []string{"-tcp", s.Kafka, "-dir", s.Data}
			if s.Sync {
				args = append(args, "-sync")
			}
			return exec.Command(filepath.Join(s.Bin, "kfaked"), args...), nil
		},
		Version: func() string {
			v := moduleVersion("github.com/twmb/franz-go/pkg/kfake")
			if len(v) > 21 && v[:7] == "v0.0.0-" {
				v = v[7:15] // the day of a version without a tag
			}
			return v
		},
	}
}
