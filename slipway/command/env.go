package command

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/slipway/client"
	"github.com/slipway-build/slipway/slipway/render"
)

// Env is the process that the CLI runs in.
type Env struct {
	Args           []string // without the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Dir            string // current directory
	Home           string
	Addr           string // SLIPWAY_ADDR
	Token          string // SLIPWAY_TOKEN
	CAFile         string // SLIPWAY_CA_FILE
	Color          bool   // stdout is a terminal that takes colors, and NO_COLOR is not set
	Live           bool   // stdout is a terminal that takes cursor movements
	Size           func() (width, height int)
	Environ        []string
	Program        string // path of this program, to start it again in the background
	Version        Version
	Farm           Farm
	Contexts       Contexts
	Ports          map[string]int // of slipway up, on loopback, by what listens there
}

// Version says which slipway this is.
type Version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
}

// The exit codes. They are part of the interface: scripts depend on them.
const (
	ExitOK          = 0
	ExitFailed      = 1   // the run failed, or files have mistakes
	ExitUsage       = 2   // wrong arguments, or something is missing here
	ExitUnreachable = 3   // no coordinator answers
	ExitCanceled    = 4   // the run was canceled
	ExitRefused     = 5   // the coordinator refused the call
	ExitInterrupted = 130 // Ctrl-C
)

const exitCodes = `Exit codes:
  0    it worked; for run and watch: the run succeeded
  1    the run failed, or files have mistakes
  2    wrong arguments, or something is missing on this machine
  3    the coordinator cannot be reached
  4    the run was canceled
  5    the coordinator refused: no such run or ref, a repository that cannot be read,
       a token whose role is not enough
  130  interrupted by Ctrl-C; a run that was being followed goes on`

// exitError ends the program with a code.
type exitError struct {
	code int
	err  error // nil: everything was said
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

// app is what commands share.
type app struct {
	env   Env
	state string
}

func (a *app) style() render.Style {
	width, _ := a.env.Size()
	return render.Style{Color: a.env.Color, Width: width}
}

func (a *app) git() (*gitcmd.Git, error) {
	g, err := gitcmd.New(gitcmd.Options{Env: gitcmd.PassThrough(a.env.Environ), UserConfig: true})
	if err != nil {
		return nil, &exitError{ExitUsage, err}
	}
	return g, nil
}

// dial runs do with a connection, and gives its error a sentence and a code.
func (a *app) dial(ctx context.Context, do func(c *client.Client) error) error {
	c, err := client.New(ctx, client.Config{State: a.state, Address: a.env.Addr, Token: a.env.Token, CAFile: a.env.CAFile})
	if err != nil {
		return &exitError{ExitUsage, err}
	}
	return errors.Join(a.explain(ctx, c, do(c)), c.Close())
}

func (a *app) explain(ctx context.Context, c *client.Client, err error) error {
	var known *exitError
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case ctx.Err() != nil:
		return &exitError{code: ExitInterrupted}
	}
	if list := client.Problems(err); len(list) > 0 {
		_, _ = io.WriteString(a.env.Stderr, a.style().Problems(list)) // an error of stderr cannot be told to anybody
		return &exitError{ExitFailed, fmt.Errorf("%s in the files of that commit; nothing was started", count(len(list), "mistake"))}
	}
	if s, ok := status.FromError(err); ok {
		code := ExitRefused
		switch {
		case client.Unreachable(err):
			code = ExitUnreachable
		case s.Code() == codes.InvalidArgument:
			code = ExitUsage
		}
		return &exitError{code, errors.New(render.Clean(c.Explain(err)))}
	}
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.env.Stdout, format, args...)
	return err
}

// note is for people, beside the output.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintf(a.env.Stderr, format+"\n", args...) // an error of stderr cannot be told to anybody
}
