// Command chaos hurts farms of real processes and judges what came of it.
// docs/reliability.md says what the experiments are.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/chaos/experiment"
	"github.com/slipway-build/slipway/chaos/farm"
	"github.com/slipway-build/slipway/chaos/node"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx)
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	e := &experiment.Env{}
	name := flag.String("exp", "", "experiment; empty: all")
	form := flag.String("form", "short", "seconds, short or full")
	count := flag.Int("count", 0, "instead of the form's")
	dir := flag.String("dir", "../.slipway/chaos", "folder for programs and what farms keep")
	jobs := flag.Int("jobs", 1, "experiments at a time")
	results := flag.String("results", "", "folder for results; empty: none are kept")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of what is hurt when")
	flag.BoolVar(&e.ControlOnly, "control", false, "the control alone")
	role := flag.String("role", "", "be one of the processes of an experiment")
	config := flag.String("config", "", "what that process is configured by, in JSON")
	flag.Parse()
	if *role != "" {
		return part(ctx, *role, *config)
	}
	e.Dir, e.Out, e.Rand = *dir, os.Stdout, rand.New(rand.NewPCG(*seed, 4))
	switch *form {
	case "seconds":
		e.Form = experiment.Seconds
	case "full":
		e.Form = experiment.Full
	default:
		e.Form = experiment.Short
	}
	code, err := experiments(ctx, e, *name, *count, *jobs, *results)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

// experiments answers the exit code: 2 for one that is not there, 1 when something is wrong.
func experiments(ctx context.Context, e *experiment.Env, name string, count, jobs int, results string) (int, error) {
	var todo []experiment.Experiment
	for _, x := range experiment.All() {
		if name == "" || name == x.Name {
			todo = append(todo, x)
		}
	}
	if len(todo) == 0 {
		return 2, fmt.Errorf("make chaos EXP=%s: %w", name, experiment.ErrNotYet)
	}
	var err error
	if e.Program, err = farm.Build(ctx, e.Dir, "./coordinator", "coordinator", ""); err != nil {
		return 1, err
	}
	var wrong atomic.Bool
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, jobs))
	for _, x := range todo {
		if count > 0 {
			x.Counts[e.Form] = count
		}
		own := *e // with chances of its own
		own.Rand = rand.New(rand.NewPCG(e.Rand.Uint64(), 4))
		g.Go(func() error {
			o, ok, err := experiment.Do(ctx, &own, x)
			if err != nil {
				return err
			}
			if !ok {
				wrong.Store(true)
			}
			if results == "" || own.ControlOnly {
				return nil
			}
			return experiment.Keep(filepath.Join(results, x.Name+".json"), x, &own, o)
		})
	}
	if err := g.Wait(); err != nil {
		return 1, err
	}
	if wrong.Load() {
		return 1, nil
	}
	return 0, nil
}

// process is one in a role.
type process interface {
	Run(ctx context.Context, in io.Reader, out io.Writer) error
}

// part is the exit code of a process in a role.
func part(ctx context.Context, role, config string) int {
	var p process
	err := errors.New("no such role")
	switch role {
	case "nats":
		p, err = decode[node.NATS](config)
	case "worker":
		p, err = decode[node.Worker](config)
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
