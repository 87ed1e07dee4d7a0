package render

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Style says what the reader's screen can do.
type Style struct {
	Color bool
	Width int // columns; 0: unlimited
}

// Color is the number of an SGR color.
type Color string

// The colors in use: few, and never the only carrier of a meaning.
const (
	Green  Color = "32"
	Red    Color = "31"
	Yellow Color = "33"
	Blue   Color = "34"
	Dim    Color = "2"
	Bold   Color = "1"
)

// Paint colors text, if colors are wanted.
func (s Style) Paint(c Color, text string) string {
	if !s.Color || text == "" || c == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// Clean removes what a terminal could take for a command; new lines and tabs stay.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r) || r == utf8.RuneError:
			return -1
		}
		return r
	}, stripSequences(text))
}

// stripSequences removes whole color and cursor sequences, so that their parameters
// do not stay behind as text.
func stripSequences(text string) string {
	if !strings.Contains(text, "\x1b[") {
		return text
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' && r <= '~' })
		if end < 0 {
			return b.String()
		}
		text = rest[end+1:]
	}
}

// Line is Clean on one line.
func Line(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(Clean(text)), "\n")
	return first
}

// Cut shortens plain text to a width.
func Cut(text string, width int) string {
	if width <= 0 || utf8.RuneCountInString(text) <= width {
		return text
	}
	if width == 1 {
		return "…"
	}
	return string([]rune(text)[:width-1]) + "…"
}

// pad fills plain text up to a width.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// Duration is short: 0.4s, 12.1s, 2m03s, 1h05m, 3d04h.
func Duration(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute-50*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	d = d.Round(time.Hour)
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// Short shortens commits and digests to twelve digits.
func Short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return Clean(id[:min(len(id), 12)])
}

// Indent puts a prefix before each line.
func Indent(text, prefix string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(prefix+l, " ")
	}
	return strings.Join(lines, "\n")
}

// Cell is one field of a table; it may have several lines.
type Cell struct {
	Text  string
	Color Color
}

// Table aligns rows under a head. It never shortens: what does not fit is wrapped by
// the terminal, as other command line programs do.
func (s Style) Table(head []string, rows [][]Cell) string {
	width := make([]int, len(head))
	for i, h := range head {
		width[i] = utf8.RuneCountInString(h)
	}
	for _, row := range rows {
		for i, c := range row {
			for line := range strings.SplitSeq(Clean(c.Text), "\n") {
				width[i] = max(width[i], utf8.RuneCountInString(line))
			}
		}
	}
	var b strings.Builder
	title := make([]Cell, len(head))
	for i, h := range head {
		title[i] = Cell{h, Bold}
	}
	for _, row := range append([][]Cell{title}, rows...) {
		s.row(&b, row, width)
	}
	return b.String()
}

func (s Style) row(b *strings.Builder, row []Cell, width []int) {
	cells, height := make([][]string, len(row)), 1
	for i, c := range row {
		cells[i] = strings.Split(Clean(c.Text), "\n")
		height = max(height, len(cells[i]))
	}
	for n := range height {
		var plain, line strings.Builder
		for i := range row {
			text := ""
			if n < len(cells[i]) {
				text = cells[i][n]
			}
			if text != "" {
				// Gaps are written only before something, so that no line ends with spaces.
				gap := sum(width[:i]) + 2*i - utf8.RuneCountInString(plain.String())
				line.WriteString(strings.Repeat(" ", gap) + s.Paint(row[i].Color, text))
				plain.WriteString(strings.Repeat(" ", gap) + text)
			}
		}
		b.WriteString(line.String() + "\n")
	}
}

func sum(list []int) int {
	n := 0
	for _, v := range list {
		n += v
	}
	return n
}
