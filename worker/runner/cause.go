package runner

import (
	"context"
	"errors"
)

// Why an attempt's context ended. Give one of them to context.WithCancelCause;
// Interrupted turns it into an outcome.
var (
	// ErrTimeout: the attempt used up its time.
	ErrTimeout = errors.New("time limit exceeded")
	// ErrCanceled: a person or the run ended it.
	ErrCanceled = errors.New("canceled")
	// ErrLost: the lease is somebody else's; nothing is to be reported.
	ErrLost = errors.New("lease lost")
	// ErrShutdown: the worker stops and did not wait any longer.
	ErrShutdown = errors.New("the worker is stopping")
)

// Interrupted is the outcome of an attempt whose context has ended, by its cause.
// ok is false while ctx is alive.
func Interrupted(ctx context.Context) (o Outcome, ok bool) {
	if ctx.Err() == nil {
		return Outcome{}, false
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, ErrTimeout):
		return Outcome{Kind: Failed, Class: ClassTimeout, Message: cause.Error()}, true
	case errors.Is(cause, ErrCanceled):
		return Outcome{Kind: Canceled, Message: cause.Error()}, true
	case errors.Is(cause, ErrLost):
		return Outcome{Kind: Canceled, Message: "the lease was lost: another worker carries the task out"}, true
	case errors.Is(cause, ErrShutdown):
		return Err("the worker was stopped before the task ended"), true
	default:
		return Err("the attempt was interrupted: %v", cause), true
	}
}
