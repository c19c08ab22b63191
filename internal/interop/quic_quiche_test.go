package interop

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/quartet-mq/quartet/quic/quicnet"
)

// quichePath is what java/install.sh makes: quiche comes with Netty, since no npm package has it ready to run.
const quichePath = "java/quic/target/classes:java/quic/target/dependency/*"

func needQuiche(t *testing.T) {
	t.Helper()
	need(t, "java", "java/quic/target/dependency")
}

// TestQUICOfQuicheClient has the client of quiche use our server. It does not follow a client of quiche to another address:
// Netty gives out no connection ids (NEW_CONNECTION_ID), and quic-go answers on a new path only with an id of its own
// (RFC 9000, section 9.5).
func TestQUICOfQuicheClient(t *testing.T) {
	needQuiche(t)
	k := newQUICKeys(t)
	guard := quicnet.NewGuard(nil)
	e := newEcho(t, k, "mqtt", &quicnet.ListenOptions{RetryAbove: -1, EarlyData: guard})
	n := newNAT(t, e.Addr())
	a := netip.MustParseAddrPort(n.LocalAddr().String())
	run(t, "java", "-XX:TieredStopAtLevel=1", "-cp", quichePath, "interop.QuicheClient",
		a.Addr().String(), fmt.Sprint(a.Port()), k.ca, "early", "streams", "datagrams")
	if n.retries.Load() == 0 {
		t.Error("no Retry packet")
	}
	if e.qlog.count(`local_update"`) == 0 {
		t.Error("we did not update the keys in 2 MB")
	}
	if st := guard.Stats(); st.Accepted == 0 || e.Stats().EarlyAccepted == 0 {
		t.Errorf("early data was not taken: %+v", st)
	}
}

// quicheServe starts the server of quiche at an address. log ends it.
func quicheServe(t *testing.T, k *quicKeys, addr net.Addr, args ...string) (log func() string) {
	t.Helper()
	a := netip.MustParseAddrPort(addr.String())
	args = append([]string{"-XX:TieredStopAtLevel=1", "-cp", quichePath, "interop.QuicheServer", a.Addr().String(), fmt.Sprint(a.Port()), k.key, k.cert}, args...)
	cmd := exec.CommandContext(t.Context(), "java", args...)
	cmd.WaitDelay = waitTime
	r, w := io.Pipe()
	var mu sync.Mutex
	var all bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		defer close(ready)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			mu.Lock()
			fmt.Fprintln(&all, lines.Text())
			mu.Unlock()
			if lines.Text() == "ready" {
				ready <- true
			}
		}
	}()
	log = sync.OnceValue(func() string {
		cmd.Process.Kill()
		cmd.Wait()
		w.Close()
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	})
	t.Cleanup(func() {
		if said := log(); t.Failed() {
			t.Logf("quiche:\n%s", said)
		}
	})
	select {
	case ok := <-ready:
		if !ok {
			t.Fatalf("quiche: %s", log())
		}
	case <-quicContext(t).Done():
		t.Fatalf("quiche is not ready: %s", log())
	}
	return log
}

// TestQUICOfQuicheServer has our client use the server of quiche. Netty now and then does not send the end of a stream
// (the last STREAM frame comes without FIN), so that is not asked for.
func TestQUICOfQuicheServer(t *testing.T) {
	needQuiche(t)
	k := newQUICKeys(t)
	addr := freeUDP(t)
	log := quicheServe(t, k, addr)
	dial := func(t *testing.T, to net.Addr, q *qlogs) *quicnet.Conn {
		t.Helper()
		d := &quicnet.Dialer{Config: quicConfig(k.client)}
		d.Qlog = q.open
		c, err := d.Dial(quicContext(t), "mqtt", to.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			c.Close()
			if err := d.Shutdown(quicContext(t)); err != nil && t.Context().Err() == nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
		return c
	}
	t.Run("streams and our key update", func(t *testing.T) {
		var q qlogs
		c := dial(t, addr, &q)
		checkBytes(t, c, 2<<20)
		checkStreamsWith(t, checkBytes, netioStreams(t.Context(), c))
		if q.count(`local_update"`) == 0 {
			t.Error("no key update in 2 MiB")
		}
	})
	t.Run("datagrams", func(t *testing.T) {
		c := dial(t, addr, new(qlogs))
		checkBytes(t, c, 1)
		for i := range 10 {
			want := fmt.Sprintf("datagram %d", i)
			if err := c.SendDatagram([]byte(want)); err != nil {
				t.Fatal(err)
			}
			if got, err := c.ReceiveDatagram(quicContext(t)); err != nil || string(got) != want {
				t.Fatalf("%q, %v", got, err)
			}
		}
	})
	t.Run("rebinding", func(t *testing.T) {
		n := newNAT(t, addr)
		c := dial(t, n.LocalAddr(), new(qlogs))
		if _, err := c.Write([]byte("one")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 3)
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
		n.rebind(t)
		checkBytes(t, c, 500_000)
		checkStreamsWith(t, checkBytes, netioStreams(t.Context(), c))
	})
	t.Run("early data", func(t *testing.T) {
		d := &quicnet.Dialer{Config: quicConfig(k.client), EarlyData: 16 << 10}
		defer d.Shutdown(t.Context())
		for i := range uint64(3) {
			c, err := d.Dial(quicContext(t), "mqtt", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			checkBytes(t, c, 1000)
			select {
			case <-c.Confirmed():
			case <-c.Done():
				t.Fatal("the connection is gone")
			}
			s, err := c.OpenStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			checkBytes(t, s, 1) // the ticket comes before the answer
			if st := d.Stats(); st.EarlyAccepted != i || st.EarlyRejected != 0 {
				t.Errorf("connection %d: early data accepted %d times, rejected %d times", i, st.EarlyAccepted, st.EarlyRejected)
			}
			c.Close()
		}
	})
	t.Run("what it says of paths", func(t *testing.T) {
		if said := log(); !strings.Contains(said, "QuicPathEvent") {
			t.Errorf("nothing of the path that changed:\n%s", said)
		}
	})
	t.Run("Retry", func(t *testing.T) {
		addr := freeUDP(t)
		quicheServe(t, k, addr, "retry")
		n := newNAT(t, addr)
		checkBytes(t, dial(t, n.LocalAddr(), new(qlogs)), 100_000)
		if n.retries.Load() == 0 {
			t.Error("no Retry packet")
		}
	})
}
