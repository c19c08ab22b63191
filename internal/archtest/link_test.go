package archtest

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestQUICIsLinkedByNameOnly lists what programs link: those that use our clients, servers and brokers but do not name
// quicnet have nothing of quic-go in them.
func TestQUICIsLinkedByNameOnly(t *testing.T) {
	const quicGo, quicnet = "github.com/quic-go/", module + "/quic/quicnet"
	foreign := func(p string) bool { return strings.HasPrefix(p, quicGo) || p == quicnet }

	// All packages but the examples together, as a program would that imports them all.
	var packages []string
	for _, p := range goList(t, "./...") {
		if p != quicnet && !strings.Contains(p, "/internal/") && !strings.Contains(p, "/examples/") {
			packages = append(packages, p)
		}
	}
	for _, want := range []string{"/mqtt/mqttclient", "/mqtt/mqttserver", "/mqtt/mqttbroker", "/amqp/amqpclient091",
		"/amqp/amqpserver", "/amqp/amqpbroker", "/kafka/kafkaclient", "/kafka/kafkaserver", "/kafka/kafkabroker"} {
		if !slices.Contains(packages, module+want) {
			t.Errorf("%s is not among %q", want, packages)
		}
	}
	for _, p := range goList(t, append([]string{"-deps"}, packages...)...) {
		if foreign(p) {
			t.Errorf("a program that does not name quicnet links %s", p)
		}
	}
	if !slices.ContainsFunc(goList(t, "-deps", quicnet), func(p string) bool { return strings.HasPrefix(p, quicGo) }) {
		t.Error("quicnet does not link quic-go: this test sees nothing")
	}
}

// goList returns the packages that go list prints.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	return strings.Fields(string(out))
}
