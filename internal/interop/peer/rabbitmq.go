package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// rabbitmqScript starts RabbitMQ where Debian has it. The one in the search path wants to be root and changes to a user of
// its own, who could not read our files.
const rabbitmqScript = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// RabbitMQ is the rabbitmq-server of the system with its default settings, a node and an epmd of its own. With Setup.HTTP it
// has the management plugin.
func RabbitMQ() Broker {
	return Broker{
		Name:         "rabbitmq",
		AMQP:         true,
		StartTimeout: 5 * time.Minute,
		Durable:      "classic queues, which write before they confirm but do not sync",
		Prepare: func(context.Context, string) error {
			for _, name := range []string{rabbitmqScript, "erl", "epmd"} {
				if _, err := exec.LookPath(name); err != nil {
					return err
				}
			}
			return nil
		},
		Beside: func(s *Setup) *exec.Cmd {
			_, port, _ := net.SplitHostPort(s.Own[0])
			cmd := exec.Command("epmd", "-port", port, "-address", "127.0.0.1")
			cmd.Dir = s.Dir
			return cmd
		},
		Command: rabbitmqCommand,
		Version: func() string {
			dirs, _ := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*")
			if len(dirs) == 0 {
				return ""
			}
			_, version, _ := strings.Cut(filepath.Base(dirs[0]), "-")
			return version
		},
	}
}

func rabbitmqCommand(s *Setup) (*exec.Cmd, error) {
	if s.WS != "" {
		return nil, errors.ErrUnsupported
	}
	file := func(name string) string { return filepath.Join(s.Dir, name) }
	var c strings.Builder
	fmt.Fprintf(&c, "listeners.tcp.1 = %s\n", s.AMQP)
	fmt.Fprintf(&c, "default_user = %s\ndefault_pass = %s\n", AMQPUser, AMQPPassword)
	fmt.Fprint(&c, "log.console = true\nlog.console.level = critical\nlog.file = false\n")
	if s.AMQPS != "" {
		fmt.Fprintf(&c, "listeners.ssl.1 = %s\n", s.AMQPS)
		fmt.Fprintf(&c, "ssl_options.cacertfile = %s\nssl_options.certfile = %s\nssl_options.keyfile = %s\n", s.CA, s.Cert, s.Key)
		fmt.Fprint(&c, "ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = false\n")
	}
	plugins := "[]."
	if s.HTTP != "" {
		plugins = "[rabbitmq_management,rabbitmq_consistent_hash_exchange]."
		host, port, err := net.SplitHostPort(s.HTTP)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&c, "management.tcp.ip = %s\nmanagement.tcp.port = %s\n", host, port)
	}
	data := s.Data
	if data == "" {
		data = file("mnesia")
	}
	err := errors.Join(
		os.WriteFile(file("rabbitmq.conf"), []byte(c.String()), 0o600),
		os.WriteFile(file("enabled_plugins"), []byte(plugins+"\n"), 0o600),
	)
	if err != nil {
		return nil, err
	}
	_, epmd, err := net.SplitHostPort(s.Own[0])
	if err != nil {
		return nil, err
	}
	_, dist, err := net.SplitHostPort(s.Own[1])
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(rabbitmqScript)
	cmd.Dir = s.Dir
	cmd.Env = append(os.Environ(),
		"detached=1", // the script becomes the broker then
		"HOME="+s.Dir,
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_EPMD_PORT="+epmd,
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_CONFIG_FILE="+file("rabbitmq.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+file("enabled_plugins"),
		"RABBITMQ_NODENAME=interop@localhost",
		"RABBITMQ_DIST_PORT="+dist,
		"RABBITMQ_MNESIA_BASE="+data,
		"RABBITMQ_LOG_BASE="+file("log"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
	)
	return cmd, nil
}
