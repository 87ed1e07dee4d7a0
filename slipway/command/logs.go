package command

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/slipway/client"
	"github.com/slipway-build/slipway/slipway/render"
)

func (a *app) logs() *cobra.Command {
	var followed bool
	var attempt int32
	part := part{}
	c := &cobra.Command{
		Use:   "logs RUN [TASK]",
		Short: "Show what tasks wrote",
		Long: `Logs shows the log of a task, or of every task of the run with the task's name before
each line. RUN may be "latest". With -f it goes on until the task, or the run, has ended;
a connection that breaks is made again, and nothing is missing or repeated.

Of one task it shows a part of the log: its last lines (--tail) or bytes (--last), or bytes
from an offset on (--offset, --bytes), without what is before them being read.`,
		Example: "  slipway logs latest test/api/unit\n  slipway logs latest test/api/unit --tail 100\n  slipway logs -f shop-12",
		Args:    between(1, "RUN", "[TASK]"),
	}
	c.ValidArgsFunction = a.completeTask
	c.Flags().BoolVarP(&followed, "follow", "f", false, "go on until the end")
	c.Flags().Int32Var(&attempt, "attempt", 0, "which attempt of the task, from 1; 0: the last one")
	c.Flags().Int64Var(&part.offset, "offset", 0, "begin with this byte of the log, from 0")
	c.Flags().Int64Var(&part.bytes, "bytes", 0, "show so many bytes at most; 0: all")
	c.Flags().Int64Var(&part.last, "last", 0, "begin so many bytes before the end of the log")
	c.Flags().Int64Var(&part.tail, "tail", 0, "begin so many lines before the end of the log")
	for _, pair := range [][2]string{{"tail", "last"}, {"tail", "offset"}, {"last", "offset"}} {
		c.MarkFlagsMutuallyExclusive(pair[0], pair[1])
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx := c.Context()
		part.fromLast, part.fromTail = c.Flags().Changed("last"), c.Flags().Changed("tail")
		if min(part.offset, part.bytes, part.last, part.tail) < 0 {
			return usage("--offset, --bytes, --last and --tail are not negative")
		}
		return a.dial(ctx, func(cl *client.Client) error {
			if len(args) == 2 {
				res, err := cl.Runs.Get(ctx, &pb.GetRequest{Run: args[0]})
				if err != nil {
					return err
				}
				if why := silent(res.GetRun(), args[1], followed); why != "" {
					a.note("%s", why)
				}
				w := &logWriter{a: a}
				// By its id: there may be a newer one when the connection is made again.
				req := &pb.TailRequest{Run: res.GetRun().GetId(), Task: args[1], Attempt: attempt, Follow: followed}
				return part.show(ctx, cl, res.GetRun(), req, w.write("", len(args[1])))
			}
			if attempt != 0 || part.some() {
				return usage("--attempt and parts of a log need the name of a task")
			}
			if followed {
				return a.followLogs(ctx, cl, args[0])
			}
			return a.allLogs(ctx, cl, args[0])
		})
	}
	return c
}

// silent says why a task has no log; empty: it has one, or will have one.
func silent(r *pb.Run, task string, followed bool) string {
	i := slices.IndexFunc(r.GetTasks(), func(t *pb.Task) bool { return t.GetId() == task })
	if i < 0 || len(r.GetTasks()[i].GetAttempts()) > 0 {
		return ""
	}
	t := r.GetTasks()[i]
	why := render.Line(cmp.Or(t.GetMessage(), t.GetReason()))
	switch state := t.GetState(); {
	case state == pb.TaskState_TASK_STATE_REUSED:
		return fmt.Sprintf("%s wrote nothing in run %s: %s, which has its log", render.Line(task), r.GetId(), why)
	case state == pb.TaskState_TASK_STATE_SUCCEEDED:
		return render.Line(task) + " is carried out by the coordinator itself, and writes no log"
	case render.Ended(state):
		return fmt.Sprintf("%s wrote nothing in run %s, it was %s: %s", render.Line(task), r.GetId(), render.TaskState(state), why)
	case !followed:
		return render.Line(task) + " has not begun; -f waits for it"
	}
	return ""
}

// allLogs shows the logs of tasks one after the other.
func (a *app) allLogs(ctx context.Context, c *client.Client, run string) error {
	res, err := c.Runs.Get(ctx, &pb.GetRequest{Run: run})
	if err != nil {
		return err
	}
	w := &logWriter{a: a}
	width := nameWidth(res.GetRun())
	for _, t := range res.GetRun().GetTasks() {
		if len(t.GetAttempts()) == 0 {
			continue
		}
		if err := c.Tail(ctx, &pb.TailRequest{Run: res.GetRun().GetId(), Task: t.GetId()}, w.write(t.GetId(), width)); err != nil {
			return err
		}
		if err := w.end(t.GetId(), width); err != nil {
			return err
		}
	}
	return nil
}

// followLogs shows the log of every task from its first attempt on, until the run ends.
func (a *app) followLogs(ctx context.Context, c *client.Client, run string) error {
	w := &logWriter{a: a}
	g, ctx := errgroup.WithContext(ctx)
	begun := map[string]bool{}
	width, id := 0, run
	look := func(t *pb.Task) {
		if len(t.GetAttempts()) == 0 || begun[t.GetId()] {
			return
		}
		begun[t.GetId()] = true
		name, width, id := t.GetId(), width, id
		g.Go(func() error {
			err := c.Tail(ctx, &pb.TailRequest{Run: id, Task: name, Follow: true}, w.write(name, width))
			if err == nil {
				err = w.end(name, width)
			}
			return err
		})
	}
	g.Go(func() error {
		return c.Watch(ctx, run, func(res *pb.WatchResponse) error {
			if s := res.GetSnapshot(); s != nil {
				width, id = nameWidth(s), s.GetId()
				for _, t := range s.GetTasks() {
					look(t)
				}
			}
			if t := res.GetTask(); t != nil {
				look(t)
			}
			return nil
		}, func(err error) { a.note("waiting: %s", c.Explain(err)) })
	})
	return g.Wait()
}

func nameWidth(r *pb.Run) int {
	width := 0
	for _, t := range r.GetTasks() {
		width = max(width, min(len(t.GetId()), 40))
	}
	return width
}

// logWriter keeps lines of several logs whole.
type logWriter struct {
	a       *app
	mu      sync.Mutex
	pending map[string][]byte // a line that has not ended, by name
}

// write returns the function that takes a log's bytes. Without a name they pass as they
// are; with one, each line begins with it.
func (w *logWriter) write(name string, width int) func(int32, []byte) error {
	return func(_ int32, data []byte) error {
		if name == "" {
			_, err := w.a.env.Stdout.Write(data)
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.pending == nil {
			w.pending = map[string][]byte{}
		}
		data = append(w.pending[name], data...)
		cut := bytes.LastIndexByte(data, '\n') + 1
		w.pending[name] = bytes.Clone(data[cut:])
		return w.lines(name, width, data[:cut])
	}
}

// end writes a last line that has no end.
func (w *logWriter) end(name string, width int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	data := w.pending[name]
	delete(w.pending, name)
	if len(data) == 0 {
		return nil
	}
	return w.lines(name, width, append(data, '\n'))
}

func (w *logWriter) lines(name string, width int, data []byte) error {
	var b bytes.Buffer
	prefix := w.a.style().Paint(render.Blue, fmt.Sprintf("%-*s │", width, render.Line(name))) + " "
	for line := range bytes.Lines(data) {
		b.WriteString(prefix)
		b.Write(line)
	}
	_, err := w.a.env.Stdout.Write(b.Bytes())
	return err
}

func (a *app) completeTask(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return a.completeRun(c, args, word)
	}
	var names []string
	err := a.withRun(c.Context(), args[0], func(r *pb.Run) error {
		for _, t := range r.GetTasks() {
			if len(t.GetAttempts()) > 0 {
				names = append(names, t.GetId())
			}
		}
		return nil
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
