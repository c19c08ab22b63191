// Package peer starts brokers as child processes on loopback: ours and those of others. The benchmarks and the interop tests
// share it. A broker is one small file: a function that returns a [Broker].
package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// User and Password are what an MQTT client logs in with; the brokers that are open to everybody ignore them.
const (
	User     = "bench"
	Password = "bench-password"
)

// AMQPUser and AMQPPassword are what an AMQP client logs in with: the user that every AMQP broker has on loopback, which the
// tests of other people's clients take for granted.
const (
	AMQPUser     = "guest"
	AMQPPassword = "guest"
)

// A Broker is a program that can be started.
type Broker struct {
	// Name is the name in tables.
	Name string
	// Prepare makes the broker ready in the directory bin, which lives as long as the run: it builds or looks for programs.
	// An error means that the broker cannot run here.
	Prepare func(ctx context.Context, bin string) error
	// Command writes the broker's configuration to s.Dir and returns its command.
	Command func(s *Setup) (*exec.Cmd, error)
	// Version returns the version to print beside the name.
	Version func() string
	// StartTimeout is the time until the first connection is accepted; a minute when zero, which is enough on a busy machine.
	StartTimeout time.Duration
	// Durable says in words how the broker keeps its state in Setup.Data. Empty: it keeps everything in memory.
	Durable string
	// MQTT, AMQP and Kafka tell which protocols the broker speaks.
	MQTT, AMQP, Kafka bool
	// Beside returns a program that the broker needs while it runs, if it needs one. It is killed when the broker has ended.
	Beside func(s *Setup) *exec.Cmd
}

// A Setup says where a broker listens. Addresses are host:port; an empty one means no such listener.
type Setup struct {
	// Bin is the directory that Prepare was given, Dir an empty directory for this process alone.
	Bin, Dir string
	// TCP, TLS and WS are the listeners of MQTT, AMQP and AMQPS those of AMQP, Kafka and Kafkas those of Kafka.
	TCP, TLS, WS  string
	AMQP, AMQPS   string
	Kafka, Kafkas string
	// SASL says that Kafka's clients log in as [User]; otherwise everybody is let in.
	SASL bool
	// Sync asks a Kafka broker to sync each batch before it acknowledges it.
	Sync bool
	// CA, Cert and Key are PEM files, set when TLS, AMQPS or Kafkas is.
	CA, Cert, Key string
	// Data is the directory of durable state, empty for none. It survives Kill and Restart.
	Data string
	// HTTP is where our broker serves its metrics and, for AMQP, the management API, as RabbitMQ does. Others have none.
	HTTP string
	// Args are more arguments for our broker.
	Args []string
	// Own are two addresses for the broker's own purposes.
	Own []string
}

// Listeners says which listeners a broker shall have besides the plain one.
type Listeners struct {
	TLS, WS bool
	// AMQP is for listeners of AMQP in place of those of MQTT.
	AMQP bool
	// Kafka is for listeners of Kafka in place of those of MQTT; with SASL clients must log in.
	Kafka, SASL bool
	// HTTP serves metrics (ours only) and, for AMQP, the management API.
	HTTP bool
}

// Config says what a broker is to be started with.
type Config struct {
	Listeners
	// Durable gives the broker a directory for its state.
	Durable bool
	// Sync asks a Kafka broker to sync each batch before it acknowledges it.
	Sync bool
	// Args are for our own broker only.
	Args []string
}

// All returns the MQTT brokers: ours first.
func All() []Broker {
	return []Broker{Quartet(), Mosquitto(), Mochi(), NATS()}
}

// AllDurable returns the MQTT brokers that can keep their state in a directory: ours first.
func AllDurable() []Broker {
	return []Broker{Quartet(), Mosquitto(), Mochi(), MochiSync(), NATS()}
}

// AllAMQP returns the AMQP brokers: ours first.
func AllAMQP() []Broker {
	return []Broker{Quartet(), RabbitMQ()}
}

// AllKafka returns the Kafka brokers: ours first.
func AllKafka() []Broker {
	return []Broker{Quartet(), ApacheKafka(), Kfake()}
}

// Speaks reports whether the broker has the protocol of the listeners.
func (b *Broker) Speaks(l Listeners) bool {
	switch {
	case l.AMQP:
		return b.AMQP
	case l.Kafka:
		return b.Kafka
	}
	return b.MQTT
}

// A Proc is a running broker.
type Proc struct {
	Setup
	// Name is the broker's name.
	Name   string
	broker Broker
	cmd    *exec.Cmd
	log    *bytes.Buffer
	done   chan struct{}
	err    error
	// release gives the ports back.
	release func()
}

// Start starts b with its files in a new directory below dir and waits until it accepts connections.
// bin is the directory that b.Prepare was given.
func Start(ctx context.Context, b Broker, bin, dir string, l Listeners) (*Proc, error) {
	return StartWith(ctx, b, bin, dir, Config{Listeners: l})
}

// StartWith is Start with more to choose. A broker that cannot be durable gives [errors.ErrUnsupported].
func StartWith(ctx context.Context, b Broker, bin, dir string, c Config) (*Proc, error) {
	if c.Durable && b.Durable == "" {
		return nil, fmt.Errorf("%s: durable state: %w", b.Name, errors.ErrUnsupported)
	}
	if !b.Speaks(c.Listeners) {
		return nil, fmt.Errorf("%s: protocol: %w", b.Name, errors.ErrUnsupported)
	}
	work, err := os.MkdirTemp(dir, b.Name+"-")
	if err != nil {
		return nil, err
	}
	p := &Proc{Name: b.Name, broker: b, log: new(bytes.Buffer)}
	p.Bin, p.Dir, p.Args, p.SASL, p.Sync = bin, work, c.Args, c.SASL, c.Sync
	if c.Durable {
		p.Data = filepath.Join(work, "data")
		if err := os.Mkdir(p.Data, 0o700); err != nil {
			return nil, err
		}
	}
	if err := p.listen(c); err != nil {
		return nil, err
	}
	if err := p.Restart(ctx); err != nil {
		p.release()
		os.RemoveAll(work)
		return nil, err
	}
	return p, nil
}

// Restart starts the broker again after Kill, with the addresses and files that it had, and waits until it accepts
// connections.
func (p *Proc) Restart(ctx context.Context) error {
	if err := p.Exec(); err != nil {
		return err
	}
	timeout := p.broker.StartTimeout
	if timeout == 0 {
		timeout = time.Minute
	}
	if err := p.ready(ctx, timeout); err != nil {
		p.Kill()
		return fmt.Errorf("%s: %w\n%s", p.Name, err, p.log)
	}
	return nil
}

// Exec is Restart without waiting.
func (p *Proc) Exec() error {
	cmd, err := p.broker.Command(&p.Setup)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	var beside *exec.Cmd
	if p.broker.Beside != nil {
		beside = p.broker.Beside(&p.Setup)
		if err := beside.Start(); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	end := func() {
		if beside != nil {
			beside.Process.Kill()
			beside.Wait()
		}
	}
	if err := cmd.Start(); err != nil {
		end()
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		p.err = cmd.Wait()
		end()
		close(done)
	}()
	return nil
}

// listen picks the ports and, for TLS, makes the certificates.
func (p *Proc) listen(c Config) error {
	addrs := []*string{&p.TCP}
	secure := &p.TLS
	switch {
	case c.AMQP:
		addrs, secure = []*string{&p.AMQP}, &p.AMQPS
	case c.Kafka:
		addrs, secure = []*string{&p.Kafka}, &p.Kafkas
	}
	if c.TLS {
		addrs = append(addrs, secure)
		if err := writeCerts(&p.Setup); err != nil {
			return err
		}
	}
	if c.WS {
		addrs = append(addrs, &p.WS)
	}
	if c.HTTP {
		addrs = append(addrs, &p.HTTP)
	}
	const own = 2
	chosen, release, err := Ports(slices.Repeat([]string{"tcp"}, len(addrs)+own)...)
	if err != nil {
		return err
	}
	p.release = release
	for i, a := range addrs {
		*a = chosen[i]
	}
	p.Own = chosen[len(addrs):]
	return nil
}

// ready waits until every listener accepts.
func (p *Proc) ready(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, addr := range []string{p.TCP, p.TLS, p.WS, p.AMQP, p.AMQPS, p.Kafka, p.Kafkas, p.HTTP} {
		if addr == "" {
			continue
		}
		for {
			c, err := net.DialTimeout("tcp", addr, 10*time.Second)
			if err == nil {
				c.Close()
				break
			}
			select {
			case <-p.done:
				return fmt.Errorf("ended early: %v", p.err)
			case <-ctx.Done():
				return fmt.Errorf("%s is not ready: %w", addr, err)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}

// Stop ends the process: politely at first, by force after 5 s. Then it removes the files.
func (p *Proc) Stop() {
	p.Terminate(5 * time.Second)
	p.release()
	os.RemoveAll(p.Dir)
}

// Terminate ends the process politely, and by force after the time d. The files stay.
func (p *Proc) Terminate(d time.Duration) {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(d):
		p.Kill()
	}
}

// Kill ends the process with SIGKILL and waits for its end. The files stay.
func (p *Proc) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Done is closed when the process has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Log returns what the process has printed. Call it when the process has ended.
func (p *Proc) Log() string { return p.log.String() }

// goBuild builds the package pkg of the module in dir into bin.
func goBuild(ctx context.Context, dir, bin, name, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(bin, name), pkg)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// moduleDir returns the directory of this module, or of the module that it names in a replace directive.
func moduleDir(ctx context.Context, path string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		if ee := (*exec.ExitError)(nil); errors.As(err, &ee) {
			return "", fmt.Errorf("go list -m %s: %s", path, bytes.TrimSpace(ee.Stderr))
		}
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

// moduleVersion returns the version of a required module.
func moduleVersion(path string) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", path).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
