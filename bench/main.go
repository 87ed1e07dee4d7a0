// Command bench measures Slipway against references, side by side on this machine, and
// keeps the raw pairs. docs/performance.md says what the rows are.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"

	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/reference/asynq"
	"github.com/slipway-build/slipway/bench/reference/river"
	"github.com/slipway-build/slipway/bench/rows"
	"github.com/slipway-build/slipway/bench/slowdisk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx)
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	var o rows.Options
	row := flag.String("row", "", "row to measure; empty: all")
	flag.IntVar(&o.Pairs, "pairs", 0, "pairs to measure; at least nine")
	flag.StringVar(&o.Results, "results", "results", "folder for the results")
	flag.StringVar(&o.Disk, "disk", ".slipway", "folder on the disk that is measured")
	flag.StringVar(&o.Tmpfs, "tmpfs", "/dev/shm", "folder in memory")
	flag.BoolVar(&o.Try, "try", false, "two pairs of small sizes, to see that a row works; writes no result")
	profile := flag.String("profile", "", "folder for a CPU profile of each process; empty: none")
	role := flag.String("role", "", "be one of the processes of a benchmark")
	config := flag.String("config", "", "what that process is configured by, in JSON")
	flag.Parse()
	o.Out = os.Stdout
	if *profile != "" {
		if err := os.Setenv(profiles, *profile); err != nil { // for the processes that this one starts
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if *role != "" {
		stop, err := startProfile(*role)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer stop()
		return part(ctx, *role, *config)
	}
	return measure(ctx, *row, o)
}

// measure answers the exit code: a missed goal is none, a broken invariant is 1.
func measure(ctx context.Context, row string, o rows.Options) int {
	names := []string{row}
	if row == "" {
		names = nil
		for _, r := range rows.All() {
			names = append(names, r.Name)
		}
	}
	code := 0
	for _, name := range names {
		broken, err := rows.Run(ctx, name, o)
		if err != nil { // of a machine that lacks something: the other rows are worth having
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		if broken > 0 || ctx.Err() != nil {
			code = 1
		}
		if ctx.Err() != nil {
			break
		}
	}
	return code
}

// profiles names the folder for CPU profiles in the environment.
const profiles = "SLIPWAY_BENCH_PROFILES"

// startProfile profiles this process until stop, if somebody wants that.
func startProfile(role string) (stop func(), err error) {
	dir := os.Getenv(profiles)
	if dir == "" {
		return func() {}, nil
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.pprof", role, os.Getpid())))
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}

// process is one in a role.
type process interface {
	Run(ctx context.Context, in io.Reader, out io.Writer) error
}

// part is the exit code of a process in a role.
func part(ctx context.Context, role, config string) int {
	var p process
	var err error
	switch role {
	case "nats":
		p, err = decode[node.NATS](config)
	case "coordinator":
		p, err = decode[node.Coordinator](config)
	case "worker":
		p, err = decode[node.Worker](config)
	case "whole":
		p, err = decode[node.Whole](config)
	case "builder":
		p, err = decode[node.Builder](config)
	case "collector":
		p, err = decode[node.Collector](config)
	case "streams":
		p, err = decode[node.Streams](config)
	case "clients":
		p, err = decode[node.Clients](config)
	case "followers":
		p, err = decode[node.Followers](config)
	case "copy":
		p, err = decode[node.Copy](config)
	case "copier":
		p, err = decode[node.Copier](config)
	case "copied":
		p, err = decode[node.Copied](config)
	case "rollouts":
		p, err = decode[node.Rollouts](config)
	case "river":
		p, err = decode[river.Process](config)
	case "asynq":
		p, err = decode[asynq.Process](config)
	case "slowdisk":
		p, err = decode[slowdisk.Process](config)
	default:
		err = fmt.Errorf("there is no role %q", role)
	}
	if err == nil {
		err = p.Run(ctx, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
		return 1
	}
	return 0
}

func decode[P process](config string) (P, error) {
	var p P
	if err := json.Unmarshal([]byte(config), &p); err != nil {
		return p, fmt.Errorf("configuration: %w", err)
	}
	return p, nil
}
