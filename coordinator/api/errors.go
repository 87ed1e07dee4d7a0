package api

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/artifactstore"
	"github.com/slipway-build/slipway/coordinator/cordon"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/proposal"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/coordinator/submit"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// toStatus is the one table from the coordinator's errors to gRPC codes. Everything that
// is not in it is INTERNAL: a defect, not the caller's fault.
func toStatus(err error) error {
	var problems *submit.ProblemsError
	if errors.As(err, &problems) {
		return withProblems(problems)
	}
	if refusal := new(run.RefusalError); errors.As(err, &refusal) {
		return status.Error(codes.FailedPrecondition, err.Error()) //nolint:wrapcheck // the edge
	}
	var missing *logstore.MissingError
	if errors.As(err, &missing) {
		return status.Error(codes.DataLoss, err.Error()) //nolint:wrapcheck // the edge
	}
	table := []struct {
		is   error
		code codes.Code
	}{
		{context.Canceled, codes.Canceled},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{partition.ErrNotFound, codes.NotFound},
		{partition.ErrKeyReused, codes.AlreadyExists},
		{partition.ErrAborted, codes.Aborted},
		{partition.ErrNothing, codes.FailedPrecondition},
		{proposal.ErrNothing, codes.FailedPrecondition},
		{partition.ErrAlways, codes.FailedPrecondition},
		{partition.ErrBusy, codes.ResourceExhausted},
		{partition.ErrUnavailable, codes.Unavailable},
		{cordon.ErrUnavailable, codes.Unavailable},
		{source.ErrRefNotFound, codes.NotFound},
		{source.ErrFileNotFound, codes.FailedPrecondition},
		{source.ErrUnreachable, codes.Unavailable},
		{source.ErrNotAllowed, codes.PermissionDenied},
		{source.ErrTooLarge, codes.InvalidArgument},
		{submit.ErrRegistry, codes.Unavailable},
		{submit.ErrStranger, codes.PermissionDenied},
		{submit.ErrNoRetry, codes.FailedPrecondition},
		{artifact.ErrNotFound, codes.NotFound},
		{artifact.ErrUnavailable, codes.Unavailable},
		{artifact.ErrTooLarge, codes.InvalidArgument},
		{artifactstore.ErrNotFound, codes.NotFound},
		{artifactstore.ErrGone, codes.NotFound},
		{artifactstore.ErrUnavailable, codes.Unavailable},
		{artifactstore.ErrTooLarge, codes.InvalidArgument},
		{artifactstore.ErrCorrupt, codes.DataLoss},
		{artifactstore.ErrFull, codes.ResourceExhausted},
	}
	for _, row := range table {
		if errors.Is(err, row.is) {
			return status.Error(row.code, err.Error()) //nolint:wrapcheck // the edge
		}
	}
	if s, ok := status.FromError(err); ok {
		return s.Err() //nolint:wrapcheck // a status already
	}
	return status.Error(codes.Internal, err.Error()) //nolint:wrapcheck // the edge
}

func withProblems(e *submit.ProblemsError) error {
	detail := &pb.Problems{}
	for _, p := range e.Problems {
		detail.Problems = append(detail.Problems, &pb.Problem{
			Path: p.Path, Line: int32(p.Line), Column: int32(p.Column), Message: p.Message, Suggestion: p.Suggestion, Excerpt: p.Excerpt,
		})
	}
	s := status.New(codes.InvalidArgument, e.Error())
	if d, err := s.WithDetails(detail); err == nil {
		s = d
	}
	return s.Err() //nolint:wrapcheck // the edge
}
