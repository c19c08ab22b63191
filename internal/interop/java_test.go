package interop

import (
	"fmt"
	"net"
	"testing"

	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// javaPath is what java/install.sh makes.
const javaPath = "java/clients/target/classes:java/clients/target/dependency/*"

func TestHiveMQClient(t *testing.T)   { checkJava(t, "interop.CheckHiveMQ", 4, 5) }
func TestPahoJavaClient(t *testing.T) { checkJava(t, "interop.CheckPaho", 3, 4) }

func checkJava(t *testing.T, class string, versions ...int) {
	need(t, "java", "java/clients/target/dependency")
	p := startOurs(t, peer.Listeners{})
	host, port, err := net.SplitHostPort(p.TCP)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		t.Run(fmt.Sprint(v), func(t *testing.T) { run(t, "java", "-cp", javaPath, class, host, port, fmt.Sprint(v)) })
	}
}
