package mask

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

const (
	// minValue is the shortest value that is masked, minLine the shortest of its lines.
	minValue = 4
	minLine  = 6
	// minWrapped is the shortest line of a wrapped form.
	minWrapped = 8
)

// tokens stand for secrets: the first whose character no pattern has, so that what is
// around a token cannot make a pattern with it.
func tokenFor(patterns []string) string {
	for _, c := range []string{"*", "#", "_", "•", "▒"} {
		if !slices.ContainsFunc(patterns, func(p string) bool { return strings.Contains(p, c) }) {
			return strings.Repeat(c, 5)
		}
	}
	return "*****"
}

// patterns are all forms of all values.
func patterns(values [][]byte) []string {
	set := map[string]bool{}
	add := func(forms ...string) {
		for _, f := range forms {
			if len(f) >= minValue {
				set[f] = true
			}
		}
	}
	for _, v := range values {
		for _, text := range texts(string(v)) {
			add(text)
			add(escaped(text)...)
			add(encoded(text)...)
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// texts are a value, without what is around it, and its lines.
func texts(value string) []string {
	if len(value) < minValue {
		return nil
	}
	out := []string{value}
	if trimmed := strings.TrimSpace(value); len(trimmed) >= minValue {
		out = append(out, trimmed)
	}
	if lines := strings.Split(value, "\n"); len(lines) > 1 {
		for _, l := range lines {
			if l = strings.TrimSpace(l); len(l) >= minLine {
				out = append(out, l)
			}
		}
		out = append(out, strings.ReplaceAll(value, "\n", "\r\n"))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// escaped are the forms of a text in URLs, JSON and source code.
func escaped(text string) []string {
	var out []string
	for _, u := range []string{url.QueryEscape(text), url.PathEscape(text), strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), percent(text)} {
		out = append(out, u, lowerEscapes(u))
	}
	if data, err := json.Marshal(text); err == nil {
		out = append(out, strings.Trim(string(data), `"`))
		plain := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(data))
		out = append(out, inner(plain), inner(ascii(plain)), strings.ReplaceAll(inner(plain), "/", `\/`))
		out = append(out, inner(string(data)))
	}
	out = append(out, html.EscapeString(text), xml(text))
	return append(out, inner(strconv.Quote(text)), strings.ReplaceAll(text, `'`, `'\''`), strings.ReplaceAll(text, `"`, `\"`))
}

// xml escapes as encoding/xml and most writers of JUnit files do.
func xml(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;", "\n", "&#xA;").Replace(text)
}

func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

// percent escapes all that RFC 3986 does not leave as it is.
func percent(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// lowerEscapes writes %2F as %2f.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}

// ascii writes what is not ASCII as \uXXXX, as several languages do by default.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}

// encoded are the forms of a text in base64, at any place of what is encoded, and in
// hexadecimal; also where programs break the lines of what they write.
func encoded(text string) []string {
	var out []string
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			all := enc.EncodeToString([]byte(strings.Repeat("\x00", shift) + text))
			// Characters at both ends also hold bits of what is beside the text.
			core := all[(shift*8+5)/6 : (shift+len(text))*8/6]
			out = append(out, core)
			if shift == 0 {
				out = append(out, wrapped(core, 64)...)
				out = append(out, wrapped(core, 76)...)
			}
		}
	}
	lower := hex.EncodeToString([]byte(text))
	for _, h := range []string{lower, strings.ToUpper(lower)} {
		out = append(append(out, h), wrapped(h, 60)...)
	}
	return out
}

// wrapped is a form with line breaks, and its lines.
func wrapped(s string, width int) []string {
	if len(s) <= width {
		return nil
	}
	var lines []string
	for l := range slices.Chunk([]byte(s), width) {
		lines = append(lines, string(l))
	}
	out := []string{strings.Join(lines, "\n")}
	for _, l := range lines {
		if len(l) >= minWrapped {
			out = append(out, l)
		}
	}
	return out
}
