package sim_test

import (
	"fmt"
	"time"

	"github.com/quartet-mq/quartet/internal/sim"
)

// A link of 20 ms, cut while the third message is under way.
func Example() {
	w := sim.New(1)
	start := w.Now()
	faults := sim.Faults{MinDelay: 20 * time.Millisecond, MaxDelay: 20 * time.Millisecond}
	l := sim.NewLink(w, faults, sim.Handler{
		Deliver: func(to sim.Side, stream int, message []byte) {
			fmt.Println(w.Now().Sub(start), to, string(message))
		},
		Down: func(at sim.Side) { fmt.Println(w.Now().Sub(start), at, "down") },
	})
	l.Connect()
	for i := range 3 {
		w.After(time.Duration(i)*10*time.Millisecond, func() { l.Send(sim.Client, 0, fmt.Appendf(nil, "message %d", i)) })
	}
	w.After(15*time.Millisecond, l.Cut)
	w.Run(100, func() bool { return false })
	// Output:
	// 20ms server message 0
	// 30ms server message 1
	// 35ms client down
	// 35ms server down
}
