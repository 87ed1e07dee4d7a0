package scaffold

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Pipeline is the text of slipway.yaml.
func (f *Found) Pipeline() []byte {
	var b strings.Builder
	b.WriteString(modeline("slipway"))
	fmt.Fprintf(&b, "# What Slipway builds, tests and rolls out. slipway lint checks this file; docs/slipway-yaml.md explains it.\n")
	for _, n := range f.Notes {
		comment(&b, "", "NOTE: "+n)
	}
	fmt.Fprintf(&b, "version: 1\nproject: %s\n", scalar(f.Project))
	if len(f.Services) == 0 {
		b.WriteString("services: {}\n")
		return []byte(b.String())
	}
	b.WriteString("services:\n")
	for _, s := range f.Services {
		s.write(&b)
	}
	return []byte(b.String())
}

func (s *Service) write(b *strings.Builder) {
	fmt.Fprintf(b, "  %s:\n", scalar(s.Name))
	for _, n := range s.Notes {
		comment(b, "    ", n)
	}
	fmt.Fprintf(b, "    path: %s\n", scalar(s.Path))
	if len(s.Also) > 0 {
		fmt.Fprintf(b, "    also: %s\n", list(s.Also))
	}
	if len(s.Needs) > 0 {
		fmt.Fprintf(b, "    needs: %s\n", list(s.Needs))
	}
	var build []string
	for _, kv := range [][2]string{{"dockerfile", s.Dockerfile}, {"context", s.Context}, {"target", s.Target}} {
		if kv[1] != "" {
			build = append(build, kv[0]+": "+scalar(kv[1]))
		}
	}
	if len(s.Args) > 0 {
		var args []string
		for _, k := range slices.Sorted(maps.Keys(s.Args)) {
			args = append(args, scalar(k)+": "+strconv.Quote(s.Args[k]))
		}
		build = append(build, "args: { "+strings.Join(args, ", ")+" }")
	}
	build = append(build, s.more()...)
	if s.NoBuild {
		b.WriteString("    build: false\n")
	} else if line := "    build: { " + strings.Join(build, ", ") + " }"; len(line) > width+30 {
		fmt.Fprintf(b, "    build:\n      %s\n", strings.Join(build, "\n      "))
	} else if len(build) > 0 {
		b.WriteString(line + "\n")
	}
	if len(s.Tests) > 0 {
		b.WriteString("    test:\n")
		for _, t := range s.Tests {
			in := ""
			if t.In != "" {
				in = ", in: " + scalar(t.In)
			}
			fmt.Fprintf(b, "      %s: { run: %s%s }\n", scalar(t.Name), strconv.Quote(t.Run), in)
		}
	}
	s.writeDeploy(b)
}

// more are settings of a build that only some have.
func (s *Service) more() []string {
	var out []string
	if len(s.Contexts) > 0 {
		var contexts []string
		for _, name := range slices.Sorted(maps.Keys(s.Contexts)) {
			contexts = append(contexts, scalar(name)+": "+strconv.Quote("service:"+s.Contexts[name]))
		}
		out = append(out, "contexts: { "+strings.Join(contexts, ", ")+" }")
	}
	if len(s.Secrets) > 0 {
		out = append(out, "secrets: "+secrets(s.Secrets))
	}
	if s.Platform != "" {
		out = append(out, "platform: "+scalar(s.Platform))
	}
	if s.SBOM {
		out = append(out, "sbom: true")
	}
	if s.NoProvenance {
		out = append(out, "provenance: false")
	}
	return out
}

// secrets are a list, or a mapping where an id is no name of a secret.
func secrets(all []Secret) string {
	var names, pairs []string
	for _, s := range all {
		names = append(names, s.name())
		pairs = append(pairs, scalar(s.ID)+": { secret: "+scalar(s.name())+" }")
	}
	if slices.ContainsFunc(all, func(s Secret) bool { return s.ID != s.name() }) {
		return "{ " + strings.Join(pairs, ", ") + " }"
	}
	return list(names)
}

// writeSecrets says where the secrets of all services are kept.
func (f *Found) writeSecrets(b *strings.Builder) {
	kept := map[string]string{}
	for _, s := range f.Services {
		for _, secret := range s.Secrets {
			name := secret.name()
			switch variable := regexp.MustCompile(`^[A-Z_][A-Z0-9_]{0,127}$`); {
			case kept[name] != "":
			case secret.File == "" && variable.MatchString(orElse(secret.Env, secret.ID)):
				kept[name] = "env: " + scalar(orElse(secret.Env, secret.ID)) + " } # of the coordinator, which slipway up hands on"
			default:
				kept[name] = "file: " + scalar("/etc/slipway/secrets/"+name) + " } # put it there, for its user alone to read; or name another place"
			}
		}
	}
	if len(kept) == 0 {
		return
	}
	b.WriteString("secrets:\n")
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		fmt.Fprintf(b, "  %s: { for: [build], %s\n", scalar(name), kept[name])
	}
}

func (s *Service) writeDeploy(b *strings.Builder) {
	if s.Deploy == nil {
		b.WriteString("    deploy: false\n")
		return
	}
	fmt.Fprintf(b, "    deploy:\n      path: %s\n", scalar(s.Deploy.Path))
	if s.Deploy.Using != "kustomize" {
		fmt.Fprintf(b, "      using: %s\n", s.Deploy.Using)
	}
	if len(s.Deploy.Images) > 0 {
		b.WriteString("      images:\n")
		for _, image := range slices.Sorted(maps.Keys(s.Deploy.Images)) {
			fmt.Fprintf(b, "        %s: %s\n", scalar(image), strconv.Quote("service:"+s.Deploy.Images[image]))
		}
	}
	if h := s.Deploy.Health; h != nil {
		fmt.Fprintf(b, "      health: { http: %s, port: %d } # of its readiness probe\n", scalar(h.Path), h.Port)
	}
}

// Targets is the text of targets.yaml. contexts are those of the user's kubeconfig, for
// the comment.
func (f *Found) Targets(contexts []string) []byte {
	var b strings.Builder
	b.WriteString(modeline("targets"))
	b.WriteString(`# Where it goes. This file belongs to the platform team: it is read from the farm's own
# settings (slipway up --targets FILE), never from the commit that is run.
# Names of clusters are yours; slipway up connects them: --context NAME=CONTEXT.
`)
	if len(contexts) == 0 {
		comment(&b, "", "Your kubeconfig names no cluster: slipway up --dev-clusters starts them on this machine.")
	} else {
		comment(&b, "", "Contexts of your kubeconfig: "+strings.Join(contexts, ", "))
	}
	fmt.Fprintf(&b, "version: 1\nproject: %s\nclusters:\n", scalar(f.Project))
	for _, env := range f.Environments {
		fmt.Fprintf(&b, "  %s: { labels: { tier: %s } }\n", scalar(env), scalar(env))
	}
	f.writeSecrets(&b)
	b.WriteString("environments:\n")
	namespaces := f.namespaces()
	for i, env := range f.Environments {
		namespace, after := namespaces[i], ""
		if i > 0 {
			after = fmt.Sprintf(", after: { env: %s, verified: true }", scalar(f.Environments[i-1]))
		}
		fmt.Fprintf(&b, "  %s: { clusters: { tier: %s }, namespace: %s, strategy: rolling%s }\n", scalar(env), scalar(env), scalar(namespace), after)
	}
	return []byte(b.String())
}

// modeline tells editors with a YAML language server which schema a file has.
func modeline(name string) string {
	return "# yaml-language-server: $schema=https://github.com/slipway-build/slipway/raw/main/docs/schemas/" + name + ".schema.json\n"
}

// width is where comments are broken.
const width = 110

func comment(b *strings.Builder, indent, text string) {
	line := indent + "#"
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > width && line != indent+"#" {
			b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}

func list(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = scalar(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// scalar quotes what YAML would read as something else.
func scalar(s string) string {
	plain := regexp.MustCompile(`^[A-Za-z/._][A-Za-z0-9/._-]*$`)
	word := regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null|nan|inf|\.+|\.inf|\.nan)$`)
	if s == "." || plain.MatchString(s) && !word.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}
