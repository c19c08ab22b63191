package peer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Mosquitto is the mosquitto of the system, with the settings that its manual names for throughput.
func Mosquitto() Broker {
	return Broker{
		Name:    "mosquitto",
		MQTT:    true,
		Durable: "autosave_interval 1 with autosave_on_changes: writes and syncs its whole database after changes, but acknowledges before",
		Prepare: func(context.Context, string) error {
			_, err := exec.LookPath("mosquitto")
			return err
		},
		Command: func(s *Setup) (*exec.Cmd, error) {
			var c strings.Builder
			if s.Data == "" {
				fmt.Fprintln(&c, "persistence false")
			} else {
				fmt.Fprintf(&c, "persistence true\npersistence_location %s/\n", s.Data)
				fmt.Fprintln(&c, "autosave_interval 1\nautosave_on_changes true")
			}
			fmt.Fprintln(&c, "allow_anonymous true")
			fmt.Fprintln(&c, "max_queued_messages 0")
			fmt.Fprintln(&c, "max_inflight_messages 1000")
			fmt.Fprintln(&c, "set_tcp_nodelay true")
			fmt.Fprintln(&c, "log_type error")
			if os.Geteuid() == 0 {
				fmt.Fprintln(&c, "user root") // it gives up its rights otherwise and cannot read the directory
			}
			listener(&c, s.TCP)
			if s.TLS != "" {
				listener(&c, s.TLS)
				fmt.Fprintf(&c, "certfile %s\nkeyfile %s\n", s.Cert, s.Key)
			}
			if s.WS != "" {
				listener(&c, s.WS)
				fmt.Fprintln(&c, "protocol websockets")
			}
			conf := filepath.Join(s.Dir, "mosquitto.conf")
			if err := os.WriteFile(conf, []byte(c.String()), 0o600); err != nil {
				return nil, err
			}
			return exec.Command("mosquitto", "-c", conf), nil
		},
		Version: func() string {
			out, _ := exec.Command("mosquitto", "-h").Output() // it exits with 3
			line, _, _ := strings.Cut(string(out), "\n")
			return strings.TrimPrefix(line, "mosquitto version ")
		},
	}
}

// listener writes a listener for addr, which is host:port.
func listener(c *strings.Builder, addr string) {
	host, port, _ := strings.Cut(addr, ":")
	fmt.Fprintf(c, "listener %s %s\n", port, host)
}
