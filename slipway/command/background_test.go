package command_test

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/slipway/command"
)

// programKey in the environment makes this test's program a slipway whose farm does
// nothing but be there.
const programKey = "SLIPWAY_TEST_PROGRAM"

func TestMain(m *testing.M) {
	kind := os.Getenv(programKey)
	if kind == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	os.Exit(command.Execute(ctx, command.Env{
		Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr, Size: func() (int, int) { return 0, 0 },
		Farm: func(ctx context.Context, c command.FarmConfig, ready func()) error {
			if kind == "broken" {
				return errors.New("port 7420 is in use")
			}
			if err := clientfile.Write(c.State, clientfile.File{Address: "127.0.0.1:1", Token: "t"}); err != nil {
				return err
			}
			ready()
			<-ctx.Done()
			return nil
		},
	}))
}

func TestBackground(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(t.TempDir(), "state")
	run := func(kind string, args ...string) (int, string) {
		e, _, errs := env(t, append(args, "--state", state)...)
		e.Program, e.Environ = program, append(os.Environ(), programKey+"="+kind)
		code := command.Execute(t.Context(), e)
		return code, errs.String()
	}
	if code, said := run("broken", "up", "-d"); code != 2 || !strings.Contains(said, "port 7420 is in use") {
		t.Errorf("a farm that does not start: code %d: %s", code, said)
	}
	if code, said := run("good", "up", "-d"); code != 0 || !strings.Contains(said, "the farm is up") {
		t.Fatalf("up: code %d: %s", code, said)
	}
	if code, said := run("good", "up", "-d"); code != 2 || !strings.Contains(said, "already") {
		t.Errorf("up again: code %d: %s", code, said)
	}
	if code, said := run("good", "down"); code != 0 || !strings.Contains(said, "the farm is down") {
		t.Errorf("down: code %d: %s", code, said)
	}
	if _, err := clientfile.Read(state); !errors.Is(err, clientfile.ErrNone) {
		t.Errorf("client.yaml is still there: %v", err)
	}
	if code, said := run("good", "down"); code != 0 || !strings.Contains(said, "no farm runs") {
		t.Errorf("down again: code %d: %s", code, said)
	}
}
