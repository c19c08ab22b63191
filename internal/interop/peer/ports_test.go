package peer

import (
	"net"
	"testing"
)

// TestPorts chooses more ports than chance keeps apart.
func TestPorts(t *testing.T) {
	seen := make(map[string]bool)
	for range 300 {
		addrs, release, err := Ports("tcp", "udp")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
		for _, a := range addrs {
			if seen[a] {
				t.Errorf("%s was chosen twice", a)
			}
			seen[a] = true
		}
	}
	addrs, release, err := Ports("tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	l, err := net.Listen("tcp", addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
