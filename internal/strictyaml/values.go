package strictyaml

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Str reads a text. A number or true is a mistake: 1.10 would lose its zero.
func (n Node) Str() string {
	v := n.value()
	switch tag := v.ShortTag(); {
	case !n.IsScalar():
		n.Problem("", "want a text, got %s", describe(v))
	case tag == "!!str" || tag == "!!timestamp":
		return v.Value
	case strings.HasPrefix(tag, "!!") && tag != "!!null":
		n.Problem(fmt.Sprintf("put it in quotes: %q", v.Value), "want a text, got %s", describe(v))
	default:
		n.Problem("", "want a text, got %s", describe(v))
	}
	return ""
}

// Text reads a text, a number or true and false, as written: for values where a
// number needs no quotes, such as environment variables.
func (n Node) Text() string {
	v := n.value()
	if tag := v.ShortTag(); !n.IsScalar() || tag == "!!null" || !strings.HasPrefix(tag, "!!") {
		n.Problem("", "want a text, got %s", describe(v))
		return ""
	}
	return v.Value
}

// Bool reads true or false.
func (n Node) Bool() bool {
	v := n.value()
	if !n.IsScalar() || v.ShortTag() != "!!bool" {
		n.Problem("", "want true or false, got %s", describe(v))
		return false
	}
	return strings.EqualFold(v.Value, "true")
}

// IsBool says that the value is true or false.
func (n Node) IsBool() bool { return n.IsScalar() && n.value().ShortTag() == "!!bool" }

// Int reads a whole number from least to most.
func (n Node) Int(least, most int) int {
	v := n.value()
	i, err := strconv.Atoi(v.Value)
	if !n.IsScalar() || v.ShortTag() != "!!int" || err != nil {
		n.Problem("", "want a whole number from %d to %d, got %s", least, most, describe(v))
		return least
	}
	if i < least || i > most {
		n.Problem("", "want a whole number from %d to %d, got %d", least, most, i)
		return least
	}
	return i
}

// Float reads a number.
func (n Node) Float() float64 {
	v := n.value()
	f, err := strconv.ParseFloat(v.Value, 64)
	if tag := v.ShortTag(); !n.IsScalar() || (tag != "!!int" && tag != "!!float") || err != nil {
		n.Problem("", "want a number, got %s", describe(v))
		return 0
	}
	return f
}

// Duration reads a time with its unit, as 90s, 15m or 1h30m, from least to most.
func (n Node) Duration(least, most time.Duration) time.Duration {
	v := n.value()
	if !n.IsScalar() {
		n.Problem("write 90s, 15m or 1h30m", "want a duration, got %s", describe(v))
		return least
	}
	d, err := time.ParseDuration(v.Value)
	if err != nil {
		suggestion := "write 90s, 15m or 1h30m"
		if _, number := strconv.Atoi(v.Value); number == nil {
			suggestion = fmt.Sprintf("write a unit: %ss, %sm or %sh", v.Value, v.Value, v.Value)
		}
		n.Problem(suggestion, "want a duration, got %s", describe(v))
		return least
	}
	if d < least || d > most {
		n.Problem("", "want a duration from %s to %s, got %s", least, most, d)
		return least
	}
	return d
}

// Enum reads one of the values.
func (n Node) Enum(values ...string) string {
	s := n.value().Value
	if n.IsScalar() && slices.Contains(values, s) {
		return s
	}
	suggestion := ""
	if n.IsScalar() {
		suggestion = Suggest(s, values)
	}
	n.Problem(suggestion, "want %s, got %s", oneOf(values), describe(n.value()))
	return ""
}

func oneOf(values []string) string {
	if len(values) == 1 {
		return values[0]
	}
	return strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
}
