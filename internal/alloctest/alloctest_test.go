package alloctest

import "testing"

var kept []byte

func TestPerRun(t *testing.T) {
	calls := 0
	none := func() { calls++ }
	if n := PerRun(10, 0, none); n != 0 || calls != 11 {
		t.Errorf("%v allocations in %d calls", n, calls)
	}
	two := func() {
		kept = make([]byte, 100)
		kept = make([]byte, 200)
	}
	if n := PerRun(10, 1, two); n < 2 {
		t.Errorf("%v allocations instead of 2", n)
	}
	late := 0
	disturbed := func() { // as if others allocated during the first two counts
		if late++; late <= 22 {
			kept = make([]byte, 100)
		}
	}
	if n := PerRun(10, 0, disturbed); n != 0 || late != 33 {
		t.Errorf("%v allocations in %d calls", n, late)
	}
}
