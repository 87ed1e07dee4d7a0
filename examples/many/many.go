// Package many makes repositories with as many services as are wanted, shaped like those of large organizations: a few base
// images that many services build on, libraries that some share, tests, manifests and ballast. What is measured or tested at
// a size uses it, and so can whoever wants to see a plan of a thousand services.
//
// It writes files. Commits are the caller's.
package many

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// MaxServices is how many a pipeline may have (docs/slipway-yaml.md), base images included.
const MaxServices = 1000

// Project is the name of the project in every repository.
const Project = "many"

// Options of a repository.
type Options struct {
	Services int    // base images included: one of each 20, and one at least
	Bytes    int64  // of files that cannot be compressed, over all services
	Seed     uint64 // equal options make equal files
	// Busybox is the path of a static binary that base images get, and with which services are built;
	// empty: images hold files, and nothing is run to make them.
	Busybox string
	// Tested: services have tests, which run in images with a shell.
	Tested bool
	// Deployed: there are manifests.
	Deployed bool
	// Seconds is how long each of two steps of a service takes: one for what it depends on, which its sources do
	// not touch, and one for the sources; 0: the first is not there, and the second takes no time.
	Seconds int
}

// Service is one of a repository.
type Service struct {
	Name string
	Path string   // of its folder
	Base string   // service that its image is built on; empty: it is a base image
	Also []string // libraries
}

// List is the services of a repository, base images first.
func (o Options) List() ([]Service, error) {
	if o.Tested && o.Busybox == "" {
		return nil, errors.New("tests want a shell in the images: name a static binary that has one")
	}
	if o.Seconds > 0 && o.Busybox == "" {
		return nil, errors.New("steps that take time want a shell in the images: name a static binary that has one")
	}
	if o.Services < 2 || o.Services > MaxServices {
		return nil, fmt.Errorf("%d services: there can be 2 to %d, one of each 20 a base image", o.Services, MaxServices)
	}
	r := rand.New(rand.NewPCG(o.Seed, 0))
	bases, libraries := (o.Services+19)/20, (o.Services+9)/10
	var out []Service
	for i := range o.Services {
		if i < bases {
			name := fmt.Sprintf("base-%d", i)
			out = append(out, Service{Name: name, Path: "images/" + name})
			continue
		}
		s := Service{Name: fmt.Sprintf("svc-%03d", i), Path: fmt.Sprintf("services/svc-%03d", i), Base: fmt.Sprintf("base-%d", r.IntN(bases))}
		for _, l := range r.Perm(libraries)[:r.IntN(min(libraries, 3)+1)] {
			s.Also = append(s.Also, fmt.Sprintf("libs/lib-%d", l))
		}
		out = append(out, s)
	}
	return out, nil
}

// Write makes the files of a repository below a folder.
func Write(dir string, o Options) error {
	services, err := o.List()
	if err != nil {
		return err
	}
	w := writer{dir: dir, ballast: o.Bytes / int64(len(services)), random: rand.NewChaCha8(seed(o.Seed))}
	for i := range (o.Services + 9) / 10 {
		w.text(fmt.Sprintf("libs/lib-%d/lib.sh", i), fmt.Sprintf("lib_%d() { echo %d; }\n", i, i))
	}
	for _, s := range services {
		w.service(s, o)
	}
	w.text("slipway.yaml", pipeline(services, o))
	w.text(".gitignore", ".slipway/\n")
	return w.err
}

func seed(n uint64) (out [32]byte) {
	binary.LittleEndian.PutUint64(out[:], n)
	return out
}

// pipeline is slipway.yaml.
func pipeline(services []Service, o Options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nproject: %s\nservices:\n", Project)
	for _, s := range services {
		fmt.Fprintf(&b, "  %s:\n    path: %s\n", s.Name, s.Path)
		if s.Base == "" {
			b.WriteString("    deploy: false\n    build: { provenance: false }\n")
			continue
		}
		if len(s.Also) > 0 {
			fmt.Fprintf(&b, "    also: [%s]\n", strings.Join(s.Also, ", "))
		}
		fmt.Fprintf(&b, "    build: { provenance: false, contexts: { base: \"service:%s\" } }\n", s.Base)
		if o.Tested {
			b.WriteString("    test:\n      unit: { run: test -s /app/main.sh }\n")
		}
		if !o.Deployed {
			b.WriteString("    deploy: false\n")
		}
	}
	return b.String()
}

// writer keeps the first error.
type writer struct {
	dir     string
	ballast int64 // of each service
	random  io.Reader
	err     error
}

func (w *writer) service(s Service, o Options) {
	switch {
	case s.Base == "" && o.Busybox == "":
		w.text(s.Path+"/Dockerfile", "FROM scratch\nCOPY "+s.Path+"/files /files\n")
	case s.Base == "":
		w.text(s.Path+"/Dockerfile", "FROM scratch\nCOPY "+s.Path+"/busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nCOPY "+s.Path+"/files /files\n")
		w.copy(s.Path+"/busybox", o.Busybox)
	default:
		lines := []string{"FROM base"}
		if o.Seconds > 0 {
			lines = append(lines, "COPY "+s.Path+"/depends.lock /depends/", fmt.Sprintf("RUN sleep %d && cp /depends/depends.lock /depends/installed", o.Seconds))
			w.text(s.Path+"/depends.lock", s.Name+" 1.0\n")
		}
		lines = append(lines, "COPY "+s.Path+" /app")
		for _, l := range s.Also {
			lines = append(lines, "COPY "+l+" /"+l)
		}
		if o.Busybox != "" {
			work := "cat /app/*.sh > /app/all"
			if o.Seconds > 0 {
				work = fmt.Sprintf("sleep %d && ", o.Seconds) + work
			}
			lines = append(lines, "RUN "+work)
		}
		w.text(s.Path+"/Dockerfile", strings.Join(lines, "\n")+"\n")
		for i := range 5 {
			w.text(fmt.Sprintf("%s/part%d.sh", s.Path, i), fmt.Sprintf("part%d() { echo %s; }\n", i, s.Name))
		}
		w.text(s.Path+"/main.sh", "#!/bin/sh\n. /app/part0.sh\npart0\n")
		if o.Deployed {
			w.manifests(s.Name)
		}
	}
	w.text(s.Path+"/files/name", s.Name+"\n")
	if w.ballast > 0 {
		w.from(s.Path+"/files/ballast", io.LimitReader(w.random, w.ballast), 0o644)
	}
}

func (w *writer) manifests(name string) {
	w.text("deploy/"+name+"/kustomization.yaml", "resources: [deployment.yaml]\n")
	w.text("deploy/"+name+"/deployment.yaml", fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: { name: %[1]s }
spec:
  selector: { matchLabels: { app: %[1]s } }
  template:
    metadata: { labels: { app: %[1]s } }
    spec: { containers: [ { name: %[1]s, image: %[1]s } ] }
`, name))
}

func (w *writer) text(name, content string) { w.from(name, strings.NewReader(content), 0o644) }

func (w *writer) copy(name, from string) {
	if w.err != nil {
		return
	}
	f, err := os.Open(from)
	if err != nil {
		w.err = fmt.Errorf("read what base images run: %w", err)
		return
	}
	defer f.Close()
	w.from(name, f, 0o755)
}

func (w *writer) from(name string, r io.Reader, mode os.FileMode) {
	if w.err != nil {
		return
	}
	full := filepath.Join(w.dir, filepath.FromSlash(name))
	w.err = func() error {
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(full, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		return err
	}()
	if w.err != nil {
		w.err = fmt.Errorf("write %s: %w", name, w.err)
	}
}
