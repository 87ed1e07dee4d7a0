package docstest

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// commands are those of the program with their flags, from the reference that a test of
// slipway/command keeps true.
func commands(t *testing.T, cli string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, part := range strings.Split(cli, "\n## ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		for _, m := range regexp.MustCompile(`(?m)^ +(?:-(\w), )?(?:    )?--([a-z-]+)`).FindAllStringSubmatch(body, -1) {
			out[name] = append(out[name], "--"+m[2])
			if m[1] != "" {
				out[name] = append(out[name], "-"+m[1])
			}
		}
		out[name] = append(out[name], "--help", "-h")
	}
	if len(out) < 10 || !slices.Contains(out["slipway"], "--state") {
		t.Fatalf("commands: %v", out)
	}
	return out
}

// TestCommands: what pages tell people to type exists.
func TestCommands(t *testing.T) {
	all := pages(t)
	known := commands(t, all["docs/cli.md"])
	checked := 0
	for page, text := range all {
		var lines []string
		for _, b := range Blocks(page, text) {
			if b.Language == "sh" {
				lines = append(lines, strings.Split(b.Text, "\n")...)
			}
		}
		for _, m := range regexp.MustCompile("`(slipway [^`\n]+)`").FindAllStringSubmatch(text, -1) {
			lines = append(lines, m[1])
		}
		for _, line := range lines {
			line, _, _ = strings.Cut(line, " #")
			for _, call := range regexp.MustCompile(`(?:^|[;&|(] ?|bin/)(slipway(?: +[^;&|)]+)?)`).FindAllStringSubmatch(strings.TrimSpace(line), -1) {
				if problem := check(strings.Fields(call[1]), known); problem != "" {
					t.Errorf("%s: %s: %s", page, call[1], problem)
				}
				checked++
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d commands were found", checked)
	}
}

// check says what is wrong with a call of slipway.
func check(words []string, known map[string][]string) string {
	name := words[0]
	rest := words[1:]
	for len(rest) > 0 && known[name+" "+rest[0]] != nil {
		name, rest = name+" "+rest[0], rest[1:]
	}
	if name == "slipway" && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return "there is no command " + rest[0]
	}
	flags := slices.Concat(known[name], known["slipway"])
	for _, word := range rest {
		flag, _, _ := strings.Cut(word, "=")
		if strings.HasPrefix(flag, "-") && len(flag) > 1 && !slices.Contains(flags, strings.TrimRight(flag, ",.")) {
			return name + " has no flag " + flag
		}
	}
	return ""
}

func TestWrongCommandsAreSeen(t *testing.T) {
	known := map[string][]string{"slipway": {"--state"}, "slipway run": {"--ref"}, "slipway images": {}, "slipway images bootstrap": {"-x"}}
	for call, want := range map[string]string{
		"slipway run --ref=main --state x": "", "slipway images bootstrap -x": "", "slipway": "",
		"slipway rum": "no command rum", "slipway run --branch main": "no flag --branch", "slipway images --ref x": "no flag --ref",
	} {
		if got := check(strings.Fields(call), known); got != want && (want == "" || !strings.Contains(got, want)) {
			t.Errorf("%s: %q, want %q", call, got, want)
		}
	}
}

// TestLinks between pages lead to files, and to headings that are there.
func TestLinks(t *testing.T) {
	all := pages(t)
	checked := 0
	for page, text := range all {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			link, err := url.Parse(m[1])
			if err != nil || link.Scheme != "" {
				continue
			}
			checked++
			target := page
			if link.Path != "" {
				target = path.Join(path.Dir(page), link.Path)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", page, m[1])
			} else if link.Fragment != "" && !slices.Contains(headings(all[target]), link.Fragment) {
				t.Errorf("%s: %s has no heading #%s", page, target, link.Fragment)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d links were found", checked)
	}
}

// headings are the anchors of a page, as GitHub makes them.
func headings(text string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		plain := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		out = append(out, strings.ReplaceAll(plain, " ", "-"))
	}
	return out
}
