package farm

import "testing"

func TestTheKernelsLineIsRead(t *testing.T) {
	u, ok := parse("42 (a ) b) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 30 20 20 0 1 0 100 1000 10")
	if want := (usage{parent: 7, own: 2, waited: 0.5}); !ok || u != want {
		t.Errorf("%+v, want %+v", u, want)
	}
	if _, ok := parse("42 (short) S 7"); ok {
		t.Error("a line that was cut short was read")
	}
}

func TestAFamilyIsAllBelow(t *testing.T) {
	all := map[int]usage{
		1: {own: 100, waited: 100},
		7: {parent: 1, own: 1, waited: 2},
		8: {parent: 7, own: 4},
		9: {parent: 8, own: 8, waited: 16},
	}
	if got := family(all, 7); got != 31 {
		t.Errorf("%g, want 31", got)
	}
	if got := family(all, 5); got != 0 {
		t.Errorf("a process that is gone: %g", got)
	}
}
