package placeholder_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/internal/placeholder"
)

func TestReplace(t *testing.T) {
	for _, c := range []struct {
		text, want string
		names      []string
	}{
		{"", "", nil},
		{`x{a="$b"}`, `x{a="<b>"}`, []string{"b"}},
		{"${b}_total + $b_total - $b", "<b>_total + <b_total> - <b>", []string{"b", "b_total"}},
		{`label_replace(x, "a", "$1 ${2}", "b", "(.*)-(.*)$")`, `label_replace(x, "a", "$1 ${2}", "b", "(.*)-(.*)$")`, nil},
		{"$$b ${b ${} $", "$<b> ${b ${} $", []string{"b"}},
	} {
		if got := placeholder.Replace(c.text, func(name string) string { return "<" + name + ">" }); got != c.want {
			t.Errorf("%q became %q, want %q", c.text, got, c.want)
		}
		if diff := cmp.Diff(c.names, placeholder.Names(c.text)); diff != "" {
			t.Errorf("%q: %s", c.text, diff)
		}
	}
	if got := placeholder.Replace("$a", func(string) string { return "$b" }); got != "$b" {
		t.Errorf("a value was looked at again: %q", got)
	}
}
