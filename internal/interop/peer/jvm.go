package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// HiveMQ is HiveMQ Community Edition, in memory. It is not among [All]: java/install.sh must have been run.
func HiveMQ() Broker { return jvm("hivemq", "interop.HiveMQ") }

// Moquette is Moquette, in memory. It is not among [All]: java/install.sh must have been run.
func Moquette() Broker { return jvm("moquette", "interop.Moquette") }

// jvm returns a broker that is a main class of java/src, with a plain listener only.
func jvm(name, class string) Broker {
	return Broker{
		Name:         name,
		MQTT:         true,
		StartTimeout: 3 * time.Minute,
		Prepare: func(ctx context.Context, bin string) error {
			if _, err := exec.LookPath("java"); err != nil {
				return err
			}
			dir, err := moduleDir(ctx, "github.com/quartet-mq/quartet/internal/interop")
			if err != nil {
				return err
			}
			target := filepath.Join(dir, "java", "brokers", "target")
			if _, err := os.Stat(filepath.Join(target, "dependency")); err != nil {
				return fmt.Errorf("java/install.sh has not been run: %w", err)
			}
			err = os.Symlink(target, filepath.Join(bin, "java"))
			if errors.Is(err, os.ErrExist) {
				err = nil // another one of these has made it
			}
			return err
		},
		Command: func(s *Setup) (*exec.Cmd, error) {
			if s.TLS != "" || s.WS != "" {
				return nil, errors.ErrUnsupported
			}
			_, port, err := net.SplitHostPort(s.TCP)
			if err != nil {
				return nil, err
			}
			target := filepath.Join(s.Bin, "java")
			path := filepath.Join(target, "classes") + ":" + filepath.Join(target, "dependency", "*")
			cmd := exec.Command("java", "-cp", path, class, port, s.Dir)
			cmd.Dir = s.Dir
			return cmd, nil
		},
		Version: func() string { return "" },
	}
}
