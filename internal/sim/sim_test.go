package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestEventsRunInOrder(t *testing.T) {
	Run(t, 50, func(t *testing.T, w *World) {
		start, last, ran := w.Now(), w.Now(), 0
		for range 100 {
			d := w.Between(0, 20*time.Second)
			w.After(d, func() {
				ran++
				if got := w.Now(); got.Before(last) || !got.Equal(start.Add(d)) {
					t.Fatalf("event of %v ran at %v", d, got.Sub(start))
				}
				last = w.Now()
			})
		}
		var same []int
		for i := range 10 {
			w.At(start, func() { same = append(same, i) })
		}
		if n := w.Run(1000, func() bool { return false }); n != 110 || ran != 100 {
			t.Fatalf("%d steps, %d events", n, ran)
		}
		if fmt.Sprint(same) != "[0 1 2 3 4 5 6 7 8 9]" {
			t.Fatalf("events of one time ran in the order %v", same)
		}
	})
}

func TestRunGivesUp(t *testing.T) {
	w := New(1)
	var again func()
	again = func() { w.After(time.Second, again) }
	again()
	if n := w.Run(10, func() bool { return false }); n != 10 {
		t.Fatalf("took %d steps", n)
	}
}

// transcript runs a small conversation and returns all that happened.
func transcript(w *World, f Faults) string {
	var b strings.Builder
	var l *Link
	l = NewLink(w, f, Handler{
		Deliver: func(to Side, stream int, m []byte) {
			fmt.Fprintf(&b, "%v %v/%d %s\n", w.Now().UnixNano(), to, stream, m)
			if to == Server {
				l.Send(Server, stream, append([]byte("re "), m...))
			}
		},
		Down: func(at Side) {
			fmt.Fprintf(&b, "%v %v down\n", w.Now().UnixNano(), at)
			if !l.Up(at.Other()) {
				w.After(time.Second, l.Connect)
			}
		},
	})
	l.Connect()
	for i := range 40 {
		w.After(time.Duration(i)*100*time.Millisecond, func() { l.Send(Client, i%3, fmt.Appendf(nil, "m%d", i)) })
	}
	w.Run(10_000, func() bool { return false })
	return b.String()
}

func TestSameSeedSameRun(t *testing.T) {
	f := Faults{MinDelay: time.Millisecond, MaxDelay: 300 * time.Millisecond, Loss: 0.05, Duplicate: 0.05, Cut: 0.05}
	Run(t, 20, func(t *testing.T, w *World) {
		first, second := transcript(w, f), transcript(New(w.Seed()), f)
		if first != second {
			t.Fatalf("two runs differ:\n%s\n%s", first, second)
		}
		if other := transcript(New(w.Seed()+1), f); other == first {
			t.Fatal("another seed gave the same run")
		}
	})
}

func TestStreamsKeepTheirOrder(t *testing.T) {
	overtaken := false
	Run(t, 50, func(t *testing.T, w *World) {
		var next [3]int
		total := 0
		l := NewLink(w, Faults{MaxDelay: time.Second}, Handler{Deliver: func(to Side, stream int, m []byte) {
			if int(m[0]) != next[stream] {
				t.Fatalf("stream %d: got %d, want %d", stream, m[0], next[stream])
			}
			next[stream]++
			total++
			overtaken = overtaken || next[2] > next[0]
		}})
		l.Connect()
		for i := range 20 {
			for stream := range next {
				l.Send(Client, stream, []byte{byte(i)})
			}
		}
		w.Run(1000, func() bool { return false })
		if total != 60 {
			t.Fatalf("%d messages arrived", total)
		}
	})
	if !overtaken {
		t.Error("streams never overtook each other")
	}
}

func TestCutDeliversAPrefix(t *testing.T) {
	partial := 0
	Run(t, 100, func(t *testing.T, w *World) {
		var got, downs int
		l := NewLink(w, Faults{MaxDelay: time.Second}, Handler{
			Deliver: func(_ Side, _ int, m []byte) {
				if int(m[0]) != got {
					t.Fatalf("got %d, want %d", m[0], got)
				}
				got++
			},
			Down: func(Side) { downs++ },
		})
		l.Connect()
		for i := range 10 {
			l.Send(Client, 0, []byte{byte(i)})
		}
		l.Cut()
		l.Send(Client, 0, []byte{99}) // the client does not know yet
		w.Run(1000, func() bool { return false })
		if downs != 2 || l.Up(Client) || l.Up(Server) {
			t.Fatalf("%d ends learnt of the cut", downs)
		}
		if got > 0 && got < 10 {
			partial++
		}
	})
	if partial == 0 {
		t.Error("no cut ever delivered a part")
	}
}

func TestCloseDeliversEverything(t *testing.T) {
	Run(t, 50, func(t *testing.T, w *World) {
		var got, downs int
		l := NewLink(w, Faults{MaxDelay: time.Second}, Handler{
			Deliver: func(Side, int, []byte) { got++ },
			Down: func(at Side) {
				if at != Server || got != 10 {
					t.Fatalf("%v down after %d messages", at, got)
				}
				downs++
			},
		})
		l.Connect()
		for i := range 10 {
			l.Send(Client, i%2, nil)
		}
		l.Close(Client)
		w.Run(1000, func() bool { return false })
		if downs != 1 {
			t.Fatalf("Down was called %d times", downs)
		}
	})
}

func TestReconnectForgetsTheOldConnection(t *testing.T) {
	w := New(1)
	var got []string
	l := NewLink(w, Faults{MinDelay: time.Second, MaxDelay: time.Second}, Handler{
		Deliver: func(_ Side, _ int, m []byte) { got = append(got, string(m)) },
		Down:    func(at Side) { t.Fatalf("%v down", at) },
	})
	l.Connect()
	l.Send(Client, 0, []byte("old"))
	l.Cut()
	l.Connect()
	l.Send(Client, 0, []byte("new"))
	w.Run(100, func() bool { return false })
	if fmt.Sprint(got) != "[new]" {
		t.Fatalf("got %v", got)
	}
}

func TestCrashPoints(t *testing.T) {
	w := New(1)
	w.CrashAt = 3
	var crashed []int
	for i := range 5 {
		if w.Crash("barrier") {
			crashed = append(crashed, i+1)
		}
	}
	if fmt.Sprint(crashed) != "[3]" || w.Points() != 5 {
		t.Fatalf("crashed at %v of %d", crashed, w.Points())
	}
	w.CrashAt, w.CrashRate = 0, 0.5
	hits := 0
	for range 1000 {
		if w.Crash("barrier") {
			hits++
		}
	}
	if hits < 400 || hits > 600 {
		t.Fatalf("%d crashes of 1000", hits)
	}
}
