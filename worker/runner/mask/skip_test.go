package mask_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/worker/runner/mask"
)

// What is skipped is what a look at every byte would have let through: also where secrets
// are nearly there, long or short, and cut anywhere.
func TestNothingIsSkippedThatCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := secrets(t)
		values := make([][]byte, len(list))
		for i, s := range list {
			values[i] = []byte(s)
		}
		var text strings.Builder
		for range rapid.IntRange(1, 8).Draw(t, "pieces") {
			s := rapid.SampledFrom(list).Draw(t, "secret")
			from := rapid.IntRange(0, len(s)).Draw(t, "from")
			text.WriteString(s[from:rapid.IntRange(from, len(s)).Draw(t, "to")])
			text.WriteString(rapid.StringMatching(`[ab \n-]{0,20}`).Draw(t, "between"))
			whole, _ := inForm(t, s)
			text.WriteString(whole)
		}
		if got, want := write(t, mask.New(values...), text.String()), write(t, mask.Bytewise(values...), text.String()); got != want {
			t.Fatalf("%q became %q, and %q where each byte is looked at", text.String(), got, want)
		}
	})
}

func BenchmarkStream(b *testing.B) {
	m := mask.New([]byte("hunter2-correct-horse"), []byte("slip_7Qm2xW9cVb4Rt6Yz"), []byte("registry-password-0451"))
	text := bytes.Repeat([]byte("#14 2.381 Compiling serde_derive v1.0.219 (/src/vendor/serde) and go: downloading github.com/x/y\n"), 41)
	var out bytes.Buffer
	s := m.Stream(&out)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		out.Reset()
		_, _ = s.Write(text)
	}
}
