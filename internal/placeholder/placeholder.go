// Package placeholder finds and replaces $name and ${name} in a text. What follows a dollar and is no
// name, as in $1 and at the end of a regular expression, is left as it is. It knows no names.
package placeholder

import (
	"regexp"
	"slices"
)

// Names are those that a text has, sorted, each once.
func Names(text string) []string {
	var out []string
	Replace(text, func(name string) string {
		out = append(out, name)
		return ""
	})
	slices.Sort(out)
	return slices.Compact(out)
}

// Replace puts the value of each name in its place. Values are not looked at again.
func Replace(text string, value func(name string) string) string {
	pattern := regexp.MustCompile(`\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))`)
	out, last := make([]byte, 0, len(text)), 0
	for _, at := range pattern.FindAllStringSubmatchIndex(text, -1) {
		begin, end := at[2], at[3]
		if begin < 0 {
			begin, end = at[4], at[5]
		}
		out = append(out, text[last:at[0]]...)
		out = append(out, value(text[begin:end])...)
		last = at[1]
	}
	return string(append(out, text[last:]...))
}
