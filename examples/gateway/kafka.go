package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"

	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
)

// kafkaSide is the Kafka broker and its server.
type kafkaSide struct {
	broker    *kafkabroker.Broker
	server    *kafkaserver.Server
	users     *mqttbroker.PasswordFile // nil without -users
	advertise string
}

func (k *kafkaSide) open(c *config, users *mqttbroker.PasswordFile, log *slog.Logger) (err error) {
	k.users, k.advertise = users, c.kafkaAdvertise
	options := &kafkabroker.Options{Logger: log, Authenticate: k.authenticate, TrustCompressed: c.kafkaTrust}
	if c.data != "" {
		options.Dir = filepath.Join(c.data, "kafka")
	}
	if c.noSync {
		options.Sync = kafkabroker.SyncNever
	}
	if c.kafkaSuper != "" {
		options.ACLs = new(kafkabroker.ACLOptions)
		for name := range strings.SplitSeq(c.kafkaSuper, ",") {
			options.ACLs.SuperUsers = append(options.ACLs.SuperUsers, "User:"+strings.TrimSpace(name))
		}
	}
	if k.broker, err = kafkabroker.Open(options); err != nil {
		return err
	}
	k.server = kafkaserver.New(k.broker, &kafkaserver.Options{Logger: log, CertificateUser: commonName})
	return nil
}

var errUnknownUser = errors.New("wrong password, or no such user")

// authenticate lets those in who have a certificate that -tls-client-ca vouches for, who know the password of a user of the
// broker, or of one in -users, and without -users everybody, without a name (config.check has seen to it that this was meant).
func (k *kafkaSide) authenticate(ctx context.Context, _ *kafkaserver.Conn, a *kafkaserver.Auth) (login kafkaserver.Login, err error) {
	switch {
	case a.Mechanism == "" && a.User != "", strings.HasPrefix(a.Mechanism, "SCRAM-"): // has proved it
		return login, nil
	case k.users == nil: // nobody has checked the name
		login.Principal = kafkaserver.Anonymous
		return login, nil
	case a.Mechanism != "PLAIN":
		return login, errUnknownUser
	}
	l := &mqttbroker.Login{Username: a.User, Password: []byte(a.Password), HasUsername: true, HasPassword: true}
	if _, err = k.users.Authenticate(ctx, l); err != nil {
		err = k.broker.CheckPassword(ctx, a.User, a.Password)
	}
	return login, err
}

// serve serves a listener until it is closed.
func (k *kafkaSide) serve(ln net.Listener, name string, t *tls.Config) error {
	err := k.server.Serve(ln, &kafkaserver.ListenerOptions{Name: name, TLS: t, Advertise: k.advertised(ln, name)})
	if errors.Is(err, kafkaserver.ErrServerClosed) {
		return nil
	}
	return err
}

// advertised returns what clients of a listener are told to connect to, empty for where they did connect.
func (k *kafkaSide) advertised(ln net.Listener, name string) string {
	host, port := splitAdvertise(k.advertise)
	if host == "" {
		return ""
	}
	if _, own, err := net.SplitHostPort(ln.Addr().String()); err == nil && (port == "" || name != "kafka") {
		port = own
	}
	return net.JoinHostPort(host, port)
}

// drain waits until what is in process is answered, for a limited time.
func (k *kafkaSide) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := k.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// close ends everything at once.
func (k *kafkaSide) close(log *slog.Logger) {
	k.server.Close()
	if err := k.broker.Close(); err != nil {
		log.Error("Kafka broker not closed in order", "err", err)
	}
}
