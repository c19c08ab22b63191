package peer

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Quartet is our own broker: examples/gateway with its default limits, a password file and an access list.
func Quartet() Broker {
	const root = "github.com/quartet-mq/quartet"
	return Broker{
		Name:    "quartet",
		MQTT:    true,
		AMQP:    true,
		Kafka:   true,
		Durable: "syncs before each acknowledgement, one sync for all that wait (Kafka: in the scenarios that say so)",
		Prepare: func(ctx context.Context, bin string) error {
			dir, err := moduleDir(ctx, root)
			if err != nil {
				return err
			}
			return goBuild(ctx, dir, bin, "gateway", "./examples/gateway")
		},
		Command: func(s *Setup) (*exec.Cmd, error) {
			users, acl := filepath.Join(s.Dir, "users"), filepath.Join(s.Dir, "acl")
			line, err := passwordLine(User, Password)
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(users, []byte(line), 0o600); err != nil {
				return nil, err
			}
			if err := os.WriteFile(acl, []byte("user "+User+"\ntopic readwrite #\n"), 0o600); err != nil {
				return nil, err
			}
			args := []string{
				"-mqtt", s.TCP, "-mqtts", s.TLS, "-ws", s.WS, "-amqp", "", "-kafka", "", "-http", s.HTTP,
				"-tls-cert", s.Cert, "-tls-key", s.Key,
				"-users", users, "-acl", acl, "-data", s.Data,
			}
			if s.Data != "" { // mosquitto's queues have no limit either then
				args = append(args, Unlimited()...)
			}
			if s.AMQP != "" {
				args = []string{
					"-mqtt", "", "-ws", "", "-amqp", s.AMQP, "-amqps", s.AMQPS, "-kafka", "", "-http", s.HTTP,
					"-tls-cert", s.Cert, "-tls-key", s.Key, "-data", s.Data,
				}
			}
			if s.Kafka != "" {
				args = []string{
					"-mqtt", "", "-ws", "", "-amqp", "", "-kafka", s.Kafka, "-kafkas", s.Kafkas, "-http", s.HTTP,
					"-tls-cert", s.Cert, "-tls-key", s.Key, "-data", s.Data,
				}
				if s.Data != "" && !s.Sync {
					args = append(args, "-no-sync") // as the others are
				}
				if s.SASL {
					args = append(args, "-users", users, "-kafka-super-users", User)
				}
			}
			return exec.Command(filepath.Join(s.Bin, "gateway"), append(args, s.Args...)...), nil
		},
		Version: func() string { return "this tree" },
	}
}

// Unlimited returns the arguments with which our broker lets queues grow without limit.
func Unlimited() []string { return []string{"-queue-messages", "-1", "-queue-bytes", "-1"} }

// passwordLine returns a line of a password file as mosquitto_passwd writes it: PBKDF2 with SHA-512.
func passwordLine(user, password string) (string, error) {
	const iterations = 101
	var salt [12]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return "", err
	}
	key, err := pbkdf2.Key(sha512.New, password, salt[:], iterations, 64)
	if err != nil {
		return "", err
	}
	enc := base64.StdEncoding
	return fmt.Sprintf("%s:$7$%d$%s$%s\n", user, iterations, enc.EncodeToString(salt[:]), enc.EncodeToString(key)), nil
}
