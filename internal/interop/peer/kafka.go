package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ApacheKafka is Apache Kafka from the jars that java/install.sh gathers: one broker that is its own controller, with the
// Java options of its start script.
func ApacheKafka() Broker {
	return Broker{
		Name:         "kafka",
		Kafka:        true,
		StartTimeout: 5 * time.Minute, // on a busy machine
		Durable:      "on disk",
		Prepare: func(ctx context.Context, bin string) error {
			if _, err := exec.LookPath("java"); err != nil {
				return err
			}
			dir, err := moduleDir(ctx, "github.com/quartet-mq/quartet/internal/interop")
			if err != nil {
				return err
			}
			jars := filepath.Join(dir, "java", "kafka", "target", "dependency")
			if found, _ := filepath.Glob(filepath.Join(jars, "kafka-server-*.jar")); len(found) == 0 {
				return errors.New("java/install.sh has not been run")
			}
			err = os.Symlink(jars, filepath.Join(bin, "kafka-jars"))
			if errors.Is(err, os.ErrExist) {
				err = nil
			}
			return err
		},
		Command: kafkaCommand,
		Version: func() string {
			dir, err := moduleDir(context.Background(), "github.com/quartet-mq/quartet/internal/interop")
			if err != nil {
				return ""
			}
			found, _ := filepath.Glob(filepath.Join(dir, "java", "kafka", "target", "dependency", "kafka-server-[0-9]*.jar"))
			if len(found) == 0 {
				return ""
			}
			return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), "kafka-server-"), ".jar")
		},
	}
}

// kafkaCommand writes the configuration, formats the directory of a new broker and returns the command.
func kafkaCommand(s *Setup) (*exec.Cmd, error) {
	data := s.Data
	if data == "" {
		data = filepath.Join(s.Dir, "data")
	}
	var c strings.Builder
	fmt.Fprintf(&c, `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[1]s
controller.listener.names=CONTROLLER
log.dirs=%[2]s
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS;User:%[3]s
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
`, s.Own[0], data, User)
	plain, secure := "PLAINTEXT", "SSL"
	if s.SASL {
		plain, secure = "SASL_PLAINTEXT", "SASL_SSL"
		c.WriteString("sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n")
		for _, l := range []string{"plain", "secure"} {
			fmt.Fprintf(&c, "listener.name.%s.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_%s=\"%s\";\n", l, User, Password)
			for _, m := range []string{"256", "512"} {
				fmt.Fprintf(&c, "listener.name.%s.scram-sha-%s.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n", l, m)
			}
		}
	}
	listeners := "PLAIN://" + s.Kafka
	if s.Kafkas != "" {
		listeners += ",SECURE://" + s.Kafkas
		store := filepath.Join(s.Dir, "store.pem")
		var pem []byte
		for _, name := range []string{s.Key, s.Cert} {
			b, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			pem = append(pem, b...)
		}
		if err := os.WriteFile(store, pem, 0o600); err != nil {
			return nil, err
		}
		fmt.Fprintf(&c, "ssl.keystore.type=PEM\nssl.keystore.location=%s\n", store)
	}
	fmt.Fprintf(&c, `listeners=%[1]s,CONTROLLER://%[2]s
advertised.listeners=%[1]s
listener.security.protocol.map=PLAIN:%[3]s,SECURE:%[4]s,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAIN
`, listeners, s.Own[0], plain, secure)
	if s.SASL {
		c.WriteString("sasl.mechanism.inter.broker.protocol=PLAIN\n")
		fmt.Fprintf(&c, "sasl.mechanism.controller.protocol=PLAIN\n")
	}
	if s.Sync {
		c.WriteString("log.flush.interval.messages=1\n")
	}
	file := filepath.Join(s.Dir, "server.properties")
	if err := os.WriteFile(file, []byte(c.String()), 0o600); err != nil {
		return nil, err
	}
	path := filepath.Join(s.Bin, "kafka-jars", "*")
	if _, err := os.Stat(filepath.Join(data, "meta.properties")); err != nil {
		format := exec.Command("java", "-XX:TieredStopAtLevel=1", "-cp", path, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", file)
		if out, err := format.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("format: %w\n%s", err, out)
		}
	}
	cmd := exec.Command("java", "-Xms1G", "-Xmx1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
		"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
		"-cp", path, "kafka.Kafka", file)
	cmd.Dir = s.Dir
	return cmd, nil
}
