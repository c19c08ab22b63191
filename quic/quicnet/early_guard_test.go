package quicnet

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// issue returns the extra entries of a new ticket.
func issue(g *Guard) [][]byte {
	s := &tls.SessionState{EarlyData: true, Extra: [][]byte{[]byte("somebody else's")}}
	g.mark(s)
	return s.Extra
}

func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGuard(&GuardOptions{Window: time.Hour})
		a, b := issue(g), issue(g)
		if g.admit(a) != 0 || g.admit(b) != 0 {
			t.Error("a new ticket is refused")
		}
		if g.admit(a) != EarlyReplayed || g.admit(b) != EarlyReplayed {
			t.Error("a ticket is taken twice")
		}
		old := issue(g)
		time.Sleep(time.Hour)
		if g.admit(old) != EarlyTooOld {
			t.Error("an old ticket is taken")
		}
		for _, extra := range [][][]byte{
			nil,
			{[]byte("somebody else's")},
			issue(NewGuard(nil)),               // another guard, as after a restart
			{issue(g)[1][:markLen-1]},          // too short
			{append(issue(g)[1], 0)},           // too long
			{issue(g)[1], issue(g)[1]},         // two
			{slices.Concat([]byte("x"), a[1])}, // another prefix
		} {
			if g.admit(extra) != EarlyForeign {
				t.Errorf("taken: %q", extra)
			}
		}
		want := GuardStats{Issued: 7, Accepted: 2, Replayed: 2, Old: 1, Foreign: 7}
		if got := g.Stats(); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

func TestGuardLeavesOtherTicketsAlone(t *testing.T) {
	g := NewGuard(nil)
	s := &tls.SessionState{}
	g.mark(s)
	if s.Extra != nil || g.Stats() != (GuardStats{}) {
		t.Error("a ticket that is not for early data was marked")
	}
}

// failing is a register that cannot answer.
type failing struct {
	era Era
	err error
}

func (f *failing) Era() Era { return f.era }
func (f *failing) Use(ctx context.Context, _ UsedTicket) (bool, error) {
	if f.err == nil {
		<-ctx.Done()
	}
	return true, f.err
}

func TestGuardFailsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			err  error
			want GuardStats
		}{
			{errors.New("no answer"), GuardStats{Issued: 1, Failed: 1}},
			{ErrRegisterFull, GuardStats{Issued: 1, Full: 1}},
			{nil, GuardStats{Issued: 1, Failed: 1}}, // it waits for too long
		} {
			g := NewGuard(&GuardOptions{Register: &failing{err: tt.err}})
			start := time.Now()
			if g.admit(issue(g)) == 0 {
				t.Errorf("%v: early data is open", tt.err)
			}
			if got := g.Stats(); got != tt.want {
				t.Errorf("%v: %+v, want %+v", tt.err, got, tt.want)
			}
			if d := time.Since(start); tt.err == nil && d != defaultGuardTimeout {
				t.Errorf("waited for %v", d)
			}
		}
	})
}

// TestGuardEra: a register that has lost its memory has another era.
func TestGuardEra(t *testing.T) {
	f := &failing{era: NewEra(), err: errors.New("not asked")}
	g := NewGuard(&GuardOptions{Register: f})
	extra := issue(g)
	f.era = NewEra()
	if g.admit(extra) != EarlyForeign || g.Stats().Foreign != 1 || g.Stats().Failed != 0 {
		t.Errorf("%+v", g.Stats())
	}
}

func TestGuardClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewMemoryRegister(0)
		g := NewGuard(&GuardOptions{Register: r})
		for _, tt := range []struct {
			ahead time.Duration
			want  bool
		}{{0, true}, {clockSkew / 2, true}, {clockSkew + time.Second, false}, {-23 * time.Hour, true}, {-24 * time.Hour, false}, {-1 << 62, false}, {1 << 62, false}} {
			extra := issue(g)
			at := time.Now().Add(tt.ahead).UnixMilli()
			for i := range 8 {
				extra[1][markLen-1-i] = byte(at >> (8 * i))
			}
			if got := g.admit(extra) == 0; got != tt.want {
				t.Errorf("%v ahead: %v", tt.ahead, got)
			}
		}
	})
}

func TestEarlyRefusalString(t *testing.T) {
	var all string
	for r := range EarlyFailed + 2 {
		all += r.String() + " "
	}
	if all != "unknown replayed old foreign full failed unknown " {
		t.Error(all)
	}
}
