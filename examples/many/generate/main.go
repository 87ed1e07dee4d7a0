// Generate makes a repository with many services, and commits it.
//
//	go run ./examples/many/generate -services 200 /tmp/many
//	slipway plan --repo /tmp/many
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"github.com/slipway-build/slipway/examples/many"
)

func main() {
	var o many.Options
	flag.IntVar(&o.Services, "services", 40, "how many, 2 to 1000; one of each 20 is a base image")
	size := flag.Int64("megabytes", 1, "size of all files together, about")
	flag.Uint64Var(&o.Seed, "seed", 1, "equal seeds make equal repositories")
	flag.StringVar(&o.Busybox, "busybox", "", "static binary with a shell, as /bin/busybox of Debian's busybox-static: images run commands, and services have tests")
	flag.BoolVar(&o.Deployed, "deployed", true, "with manifests")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: generate [options] FOLDER\n\nMakes a repository with many services in an empty folder, and commits it. Options:")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	o.Bytes, o.Tested = *size<<20, o.Busybox != ""
	if err := generate(flag.Arg(0), o); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate(dir string, o many.Options) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty", dir)
	}
	if err := many.Write(dir, o); err != nil {
		return err
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=generate", "-c", "user.email=generate@example.com", "commit", "-q", "-m", "many services"}} {
		if out, err := exec.CommandContext(context.Background(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("git %v: %w\n%s", args, err, out)
		}
	}
	return nil
}
