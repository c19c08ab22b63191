package delivery

import (
	"math"
	"testing"
)

func TestCredit(t *testing.T) {
	var c Credit
	if c.Take() || c.Available() != 0 {
		t.Error("the zero value has credit")
	}
	c.Set(2)
	first, second, third := c.Take(), c.Take(), c.Take()
	if !first || !second || third || c.Count() != 2 {
		t.Errorf("two of two: %+v", c)
	}
	c.Grant(1)
	if c.Available() != 1 || !c.Take() || c.Take() {
		t.Errorf("after a grant: %+v", c)
	}
	c.Set(-5)
	c.Grant(5)
	if c.Available() != 0 || c.Take() {
		t.Errorf("grants pay the debt first: %+v", c)
	}
	c.Grant(3)
	c.Grant(-1)
	if c.Available() != 2 {
		t.Errorf("taken back: %+v", c)
	}
	if c.Drain() != 2 || c.Available() != 0 || c.Count() != 5 || c.Drain() != 0 {
		t.Errorf("drained: %+v", c)
	}
}

func TestCreditUnlimited(t *testing.T) {
	var c Credit
	c.Set(Unlimited)
	for range 1000 {
		if !c.Take() {
			t.Fatal("unlimited credit ran out")
		}
	}
	c.Grant(5)
	c.Grant(-5)
	if c.Drain() != 0 || c.Available() != Unlimited || c.Count() != 1000 {
		t.Errorf("%+v", c)
	}
	c.Set(1)
	if !c.Take() || c.Take() {
		t.Error("limited again")
	}
}

func TestCreditOverflow(t *testing.T) {
	var c Credit
	c.Set(10)
	c.Grant(math.MaxInt64)
	if c.Available() != Unlimited-1 {
		t.Errorf("up: %d", c.Available())
	}
	c.Set(-10)
	c.Grant(math.MinInt64)
	if c.Available() != 0 {
		t.Errorf("down: %d", c.Available())
	}
	c.Grant(math.MaxInt64)
	if c.Available() != 0 {
		t.Errorf("the debt is gone: %d", c.Available())
	}
}

// Link credit of AMQP 1.0 section 2.6.7, serial numbers that wrap included.
func TestCreditFlow(t *testing.T) {
	for _, c := range []struct {
		name                    string
		sent, seen, credit, now uint32
	}{
		{"first flow", 0, 0, 10, 10},
		{"nothing in flight", 7, 7, 10, 10},
		{"three in flight", 10, 7, 10, 7},
		{"taken back below them", 10, 7, 2, 0},
		{"wrapped", 1, math.MaxUint32, 10, 8},
		{"largest", 0, 0, math.MaxUint32, math.MaxUint32},
	} {
		t.Run(c.name, func(t *testing.T) {
			var credit Credit
			credit.SetCount(c.sent)
			credit.Flow(c.seen, c.credit)
			if got := credit.Available(); got != int64(c.now) {
				t.Errorf("available %d, want %d", got, c.now)
			}
		})
	}
}
