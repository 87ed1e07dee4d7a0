package toolchain

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Reporter writes a line for each event. It may be used from several goroutines.
func Reporter(out io.Writer, steps int) func(Event) {
	var mu sync.Mutex
	begun := 0
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		line := func(format string, args ...any) {
			fmt.Fprintf(out, "%-24s "+format+"\n", append([]any{e.Step.Name}, args...)...)
		}
		switch e.State {
		case Skipped:
			begun++
			line("is there")
		case Waiting:
			line("waits: another process builds it")
		case Started:
			begun++
			line("[%d/%d] begins, for %s", begun, steps, e.Step.Why)
		case Working:
			line("%s, %d packages compiled", rounded(e.Took), e.Compiled)
		case Done:
			line("done in %s", rounded(e.Took))
		case Failed:
			line("went wrong after %s", rounded(e.Took))
		}
	}
}

func rounded(d time.Duration) time.Duration {
	if d < time.Minute {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
