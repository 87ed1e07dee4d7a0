package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
	"github.com/slipway-build/slipway/slipway/progress"
	"github.com/slipway-build/slipway/slipway/render"
)

func (a *app) run() *cobra.Command {
	var o origin
	var detach bool
	c := &cobra.Command{
		Use:   "run",
		Short: "Build, test and roll out a commit, and follow it",
		Long: `Run submits a commit and follows the run until it has ended: on a terminal with the
tasks that run now, elsewhere with a line for each task that begins and ends. At the end
there is a table of services, tests and targets, and everything known about failures.

Ctrl-C stops following and nothing else: the run goes on, and a sentence says how to
follow or cancel it. A coordinator that is away for a while is waited for.`,
		Example: `  slipway run                              # the commit that is checked out
  slipway run --dirty                      # the working tree as it is
  slipway run --adopt                      # take over what Helm, kubectl or Argo CD brought there
  slipway run --repo https://example.com/shop.git --ref main --detach`,
		Args: exactly(),
	}
	o.flags(c)
	c.Flags().BoolVar(&detach, "detach", false, "print the id of the run and do not follow it")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx := c.Context()
		at, err := a.resolve(ctx, o)
		if err != nil {
			return err
		}
		return a.dial(ctx, func(cl *client.Client) error {
			run, err := a.submit(ctx, cl, &pb.SubmitRequest{
				IdempotencyKey: rand.Text(), Repository: at.repository, Ref: at.ref, Dirty: at.dirty, NoReuse: o.noReuse, Adopt: o.adopt,
			})
			if err != nil {
				return err
			}
			return a.begun(ctx, cl, run, detach, *out)
		})
	}
	return c
}

// begun follows a run that was accepted, or says how to.
func (a *app) begun(ctx context.Context, cl *client.Client, run *pb.Run, detach bool, out format) error {
	if !detach {
		return a.follow(ctx, cl, run.GetId(), out, nil)
	}
	if out != "table" {
		return a.message(out, run)
	}
	a.note("%s", follow(run.GetId()))
	return a.printf("%s\n", run.GetId())
}

// submit submits a commit.
func (a *app) submit(ctx context.Context, c *client.Client, req *pb.SubmitRequest) (*pb.Run, error) {
	return a.insist(ctx, func() (*pb.Run, error) {
		res, err := c.Runs.Submit(ctx, req)
		return res.GetRun(), err
	})
}

// insist repeats a call that was cut off: its key makes it one intent.
func (a *app) insist(ctx context.Context, call func() (*pb.Run, error)) (*pb.Run, error) {
	b := &client.Backoff{Limit: 30 * time.Second}
	for {
		run, err := call()
		if err == nil {
			return run, nil
		}
		if ctx.Err() != nil {
			a.note("interrupted while the run was being accepted; slipway list shows whether it was")
			return nil, err
		}
		if !client.Interrupted(err) || !b.Wait(ctx) {
			return nil, err
		}
	}
}

func (a *app) watch() *cobra.Command {
	c := &cobra.Command{
		Use:   "watch [RUN]",
		Short: "Follow a run until it has ended",
		Long:  "Watch follows a run (the latest, if none is named) as run does, and ends with the same exit codes.",
		Args:  between(0, "RUN"),
	}
	c.ValidArgsFunction = a.completeRun
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.dial(c.Context(), func(cl *client.Client) error {
			return a.follow(c.Context(), cl, runName(args), *out, nil)
		})
	}
	return c
}

// follow shows a run to its end and returns its exit code. With another format than
// table, progress goes to stderr and the run to stdout.
func (a *app) follow(ctx context.Context, c *client.Client, run string, out format, frame func(*pb.Run) string) error {
	final, err := a.show(ctx, c, run, out, frame)
	if ctx.Err() != nil {
		if final != nil {
			run = final.GetId()
		}
		a.note("no longer following: run %s goes on\n%s", run, follow(run))
		return &exitError{code: ExitInterrupted}
	}
	if err != nil {
		return err
	}
	if out != "table" {
		if err := a.message(out, final); err != nil {
			return err
		}
	} else {
		if frame != nil {
			if err := a.printf("\n%s", frame(final)); err != nil {
				return err
			}
		}
		if err := a.printf("\n%s", a.style().Summary(final, time.Now())); err != nil {
			return err
		}
	}
	switch final.GetState() {
	case pb.RunState_RUN_STATE_SUCCEEDED:
		return nil
	case pb.RunState_RUN_STATE_CANCELED:
		return &exitError{code: ExitCanceled}
	default:
		return &exitError{code: ExitFailed}
	}
}

// show draws while it follows. The last state is returned also with an error.
func (a *app) show(ctx context.Context, c *client.Client, run string, out format, frame func(*pb.Run) string) (*pb.Run, error) {
	s := newScreen(a, c, out)
	s.frame = frame
	changes, done := make(chan *pb.WatchResponse), make(chan error, 1)
	trouble := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		done <- c.Watch(ctx, run, func(res *pb.WatchResponse) error {
			select {
			case changes <- res:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}, func(err error) {
			select {
			case trouble <- err:
			default: // one note is enough
			}
		})
	}()
	why := make(chan *pb.ExplainResponse, 1)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		var err error
		select {
		case res := <-changes:
			err = s.apply(res)
		case e := <-trouble:
			err = s.away(c.Explain(e))
		case res := <-why:
			err = s.explained(res)
		case <-tick.C:
			if s.puzzled(time.Now()) {
				go func() {
					// Without an answer there is nothing to tell: the stream says what is wrong.
					res, _ := c.Runs.Explain(ctx, &pb.ExplainRequest{Run: run})
					why <- res
				}()
			}
			err = s.draw(nil)
		case e := <-done:
			return s.model.Run(), errors.Join(e, s.finish())
		}
		if err != nil {
			cancel()
			<-done
			return s.model.Run(), err
		}
	}
}

// screen is where progress is shown.
type screen struct {
	a      *app
	model  *progress.Model
	live   bool
	beside bool                 // stdout is for something else
	lines  int                  // of the frame that is on the screen
	gone   string               // why the coordinator is away
	back   string               // what is said when it is not any more
	heard  time.Time            // when something changed last, or was explained
	asking bool                 // why nothing does
	frame  func(*pb.Run) string // what is drawn in place of what runs now; nil: that
}

// idle is how long nothing may happen before a follower is told why.
const idle = 10 * time.Second

// puzzled says that it is time to ask why nothing happens; explained takes the answer.
func (s *screen) puzzled(now time.Time) bool {
	if s.asking || s.gone != "" || !s.model.Idle() || now.Sub(s.heard) < idle {
		return false
	}
	s.asking = true
	return true
}

func (s *screen) explained(res *pb.ExplainResponse) error {
	s.asking, s.heard = false, time.Now()
	if !s.model.Idle() {
		return nil
	}
	return s.draw(s.model.Waits(res))
}

func newScreen(a *app, c *client.Client, out format) *screen {
	live := a.env.Live && out == "table"
	back := "the coordinator is back"
	if c.Several() {
		back = "a coordinator answers again"
	}
	return &screen{a: a, live: live, back: back, beside: out != "table", model: progress.New(a.style(), live)}
}

func (s *screen) apply(res *pb.WatchResponse) error {
	back := s.gone != ""
	s.gone, s.heard = "", time.Now()
	lines := s.model.Apply(res)
	if back && !s.live {
		lines = append([]string{s.back}, lines...)
	}
	if len(lines) == 0 {
		return nil // the next tick draws
	}
	return s.draw(lines)
}

func (s *screen) away(why string) error {
	told := s.gone != ""
	s.gone = why
	if s.live || told {
		return nil
	}
	return s.draw([]string{"waiting: " + why})
}

func (s *screen) draw(lines []string) error {
	if !s.live {
		for _, l := range lines {
			if err := s.plain(l); err != nil {
				return err
			}
		}
		return nil
	}
	width, height := s.a.env.Size()
	if width <= 0 || height <= 0 {
		width, height = 80, 24 // a terminal that does not say
	}
	frame := s.model.Frame(time.Now(), max(20, width-1), max(3, min(height-2, 20)))
	if r := s.model.Run(); s.frame != nil && r != nil {
		frame = append(frame[:1:1], strings.Split(strings.TrimRight(s.frame(r), "\n"), "\n")...)
		frame, lines = frame[:min(len(frame), max(3, height-2))], nil
	}
	if s.gone != "" {
		frame = append(frame, render.Cut("waiting: "+s.gone, max(20, width-1)))
	}
	err := s.a.printf("%s", progress.Redraw(s.lines, lines, frame))
	s.lines = len(frame)
	return err
}

// plain lines are part of the output of a table, and stand beside other formats.
func (s *screen) plain(line string) error {
	if s.beside {
		s.a.note("%s", line)
		return nil
	}
	return s.a.printf("%s\n", line)
}

// finish takes the frame away.
func (s *screen) finish() error {
	if !s.live {
		return nil
	}
	err := s.a.printf("%s", progress.Redraw(s.lines, nil, nil))
	s.lines = 0
	return err
}

func (a *app) cancel() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "cancel RUN",
		Short: "Stop a run; a rollout that has begun is rolled back",
		Args:  exactly("RUN"),
	}
	c.ValidArgsFunction = a.completeRun
	c.Flags().StringVar(&reason, "reason", "", "why, for those who ask later")
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.dial(c.Context(), func(cl *client.Client) error {
			res, err := cl.Runs.Cancel(c.Context(), &pb.CancelRequest{Run: args[0], Reason: reason})
			if err != nil {
				return err
			}
			if *out != "table" {
				return a.message(*out, res.GetRun())
			}
			r := res.GetRun()
			line := fmt.Sprintf("run %s: %s", render.Line(r.GetId()), render.RunState(r.GetState()))
			if r.GetMessage() != "" {
				line += ": " + render.Line(r.GetMessage())
			}
			return a.printf("%s\n", line)
		})
	}
	return c
}
