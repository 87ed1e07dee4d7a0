package simulate

import "testing"

func TestEveryBehaviorIsAStageThatKwokReads(t *testing.T) {
	all, err := stages()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, group := range all {
		for _, s := range group {
			if names[s.Name] {
				t.Errorf("two stages are called %s", s.Name)
			}
			names[s.Name] = true
		}
	}
	for _, b := range behaviors() {
		if !names["pod-"+b.name] {
			t.Errorf("behavior %s has no stage", b.name)
		}
		if b.repeats && !names["pod-"+b.name+"-again"] {
			t.Errorf("behavior %s does not repeat", b.name)
		}
	}
}

func TestTail(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"", "a\nb\n"}, {"1", "b\n"}, {"2", "a\nb\n"}, {"9", "a\nb\n"}, {"0", ""}, {"x", "a\nb\n"},
	} {
		if got := tail("a\nb\n", c.lines); got != c.want {
			t.Errorf("tail %q: %q, want %q", c.lines, got, c.want)
		}
	}
}
