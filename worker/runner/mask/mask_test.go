package mask_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/worker/runner/mask"
)

// inForm is a text with a secret in it, in one of the forms, and what must not be seen.
func inForm(t *rapid.T, secret string) (text, leak string) {
	before := rapid.StringMatching(`[a-z ]{0,7}`).Draw(t, "before")
	after := rapid.StringMatching(`[a-z ]{0,7}`).Draw(t, "after")
	base := func(enc *base64.Encoding) (string, string) {
		all := enc.EncodeToString([]byte(before + secret + after))
		// The characters that hold bits of the secret alone.
		from, to := (len(before)*8+5)/6, (len(before)+len(secret))*8/6
		return all, all[from:to]
	}
	switch rapid.SampledFrom([]string{"raw", "std", "raw std", "url", "raw url", "query", "path", "json", "hex", "HEX", "go", "wrapped"}).Draw(t, "form") {
	case "std":
		return base(base64.StdEncoding)
	case "raw std":
		return base(base64.RawStdEncoding)
	case "url":
		return base(base64.URLEncoding)
	case "raw url":
		return base(base64.RawURLEncoding)
	case "wrapped":
		all := base64.StdEncoding.EncodeToString([]byte(secret))
		var lines []string
		for ; len(all) > 76; all = all[76:] {
			lines = append(lines, all[:76])
		}
		out := strings.Join(append(lines, all), "\n")
		return out + "\n", out[:len(secret)*8/6]
	case "query":
		leak = url.QueryEscape(secret)
	case "path":
		leak = url.PathEscape(secret)
	case "json":
		data, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		leak = string(data[1 : len(data)-1])
	case "hex":
		leak = hex.EncodeToString([]byte(secret))
	case "HEX":
		leak = strings.ToUpper(hex.EncodeToString([]byte(secret)))
	case "go":
		quoted := fmt.Sprintf("%q", secret)
		leak = quoted[1 : len(quoted)-1]
	default:
		leak = secret
	}
	return before + leak + after, leak
}

func secrets(t *rapid.T) []string {
	return rapid.SliceOfN(rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z0-9+/=*#_<>&"'\\ -]{4,40}`),
		rapid.StringMatching(`[ab]{4,9}`), // overlaps with itself and others
		rapid.StringMatching(`[a-z]{6,12}(\n[A-Z0-9/+]{6,80}){1,3}\n?`),
		rapid.StringN(4, 30, 90),
	), 1, 4).Draw(t, "secrets")
}

// write in pieces, as programs do.
func write(t *rapid.T, m *mask.Masker, text string) string {
	var out bytes.Buffer
	s := m.Stream(&out)
	for rest := text; rest != ""; {
		n := rapid.IntRange(1, len(rest)).Draw(t, "write")
		if _, err := s.Write([]byte(rest[:n])); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	s.Flush()
	return out.String()
}

// No form of a secret comes out, however the text is cut.
func TestNothingComesOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := secrets(t)
		values := make([][]byte, len(list))
		for i, s := range list {
			values[i] = []byte(s)
		}
		m := mask.New(values...)
		var text strings.Builder
		var leaks []string
		for range rapid.IntRange(1, 5).Draw(t, "pieces") {
			s, leak := inForm(t, rapid.SampledFrom(list).Draw(t, "secret"))
			text.WriteString(s)
			leaks = append(leaks, leak)
		}
		out := write(t, m, text.String())
		for _, leak := range append(leaks, list...) {
			if len(leak) >= 4 && strings.Contains(out, leak) && !strings.ContainsAny(strings.Join(list, ""), "*") {
				t.Fatalf("%q of %q is in %q", leak, text.String(), out)
			}
		}
		if whole := m.Text(text.String()); whole != out {
			t.Fatalf("in pieces %q, in one %q", out, whole)
		}
	})
}

// Text without a secret is what it was, byte for byte.
func TestNothingElseIsMasked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// The characters of the text are in no form of the secret.
		secret := rapid.StringMatching(`[0-9]{4,30}`).Draw(t, "secret")
		text := rapid.StringMatching(`[^0-9a-zA-Z%+/=\\_-]{0,200}`).Draw(t, "text") + secret[:3]
		if out := write(t, mask.New([]byte(secret)), text); out != text {
			t.Fatalf("%q became %q", text, out)
		}
	})
}

// Beginnings of secrets are given out as soon as they are none.
func TestHoldsBackLittle(t *testing.T) {
	m := mask.New([]byte("abcabd"))
	var out bytes.Buffer
	s := m.Stream(&out)
	for _, step := range []struct{ write, want string }{
		{"xabca", "x"}, {"b", "x"}, {"c", "xabc"}, {"abd", "xabc"}, {"z", "xabc*****z"}, {"ab", "xabc*****z"},
	} {
		if _, err := s.Write([]byte(step.write)); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		// A secret that is complete is masked at the latest when the next byte comes.
		if got != step.want && got != step.want+"*****" {
			t.Fatalf("after %q: %q, want %q", step.write, got, step.want)
		}
	}
	s.Flush()
	if got := out.String(); got != "xabc*****zab" {
		t.Fatalf("at the end: %q", got)
	}
}

func TestOverlaps(t *testing.T) {
	for _, c := range []struct {
		secrets    []string
		text, want string
	}{
		{[]string{"abcd", "cdef"}, "xabcdefx", "x*****x"},
		{[]string{"abcd", "abcdef"}, "abcdef abcde", "***** *****e"},
		{[]string{"aaaa"}, "aaaaaaab", "*****b"},
		{[]string{"abcd"}, "abcdabcd", "*****"},
		{[]string{"bcde", "abcdefg"}, "abcdef", "a*****f"},
		{[]string{"*abc"}, "x*abcx", "x#####x"},
		{[]string{"abc"}, "abc", "abc"}, // too short
		{nil, "abc", "abc"},
	} {
		values := make([][]byte, len(c.secrets))
		for i, s := range c.secrets {
			values[i] = []byte(s)
		}
		if got := mask.New(values...).Text(c.text); got != c.want {
			t.Errorf("%q in %q: got %q, want %q", c.secrets, c.text, got, c.want)
		}
	}
}

// The largest secret that a task may have is masked within sane memory and time.
func TestLarge(t *testing.T) {
	value := make([]byte, 64<<10)
	for i := range value {
		value[i] = byte(33 + (i*i+i/7)%90)
	}
	m := mask.New(value)
	text := "begin " + string(value) + " " + base64.StdEncoding.EncodeToString(value) + " end"
	if out := m.Text(text); len(out) > 60 {
		t.Errorf("%d bytes are left of it", len(out))
	}
}
