package progress

import (
	"fmt"
	"strings"
)

// Redraw replaces the frame that was drawn last by lines that stay and a new frame. It
// is one write, so that nothing flickers. before is the number of lines of the frame
// that is on the screen.
func Redraw(before int, lines, frame []string) string {
	var b strings.Builder
	if before > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", before)
	}
	b.WriteString("\x1b[J")
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	for _, l := range frame {
		b.WriteString(l + "\n")
	}
	return b.String()
}
