package agent

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipway-build/slipway/deploy/apply"
	"github.com/slipway-build/slipway/deploy/rolling"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// What a comparison answers is kept with the run: the whole of it is in the log.
const (
	maxObjects = 100
	maxFields  = 30
)

// compared is the answer of a comparison.
func compared(r rolling.Result) *pb.Diff {
	d := &pb.Diff{Namespace: r.Applied.NamespaceCreated}
	for _, change := range r.Applied.Changes {
		switch change.Action {
		case apply.Created:
			d.Created++
		case apply.Updated, apply.Adopted:
			d.Changed++
		case apply.Deleted:
			d.Deleted++
		case apply.Unchanged:
			d.Unchanged++
			continue
		case apply.Kept, apply.CarriedOut:
		}
		if len(d.GetObjects()) == maxObjects {
			continue
		}
		o := &pb.ObjectChange{Object: change.Ref.String(), Action: string(change.Action), Reason: change.Reason, More: int32(max(0, len(change.Fields)-maxFields))}
		o.By, o.At = holders(change.Fields)
		for _, f := range change.Fields[:min(len(change.Fields), maxFields)] {
			o.Fields = append(o.Fields, &pb.FieldChange{Path: f.Path, From: f.From, To: f.To})
		}
		d.Objects = append(d.Objects, o)
	}
	return d
}

// holders are those of fields, and when one of them wrote last.
func holders(fields []apply.Field) (by string, at *timestamppb.Timestamp) {
	var all []string
	for _, f := range fields {
		if f.By != "" && !slices.Contains(all, f.By) {
			all = append(all, f.By)
		}
		if f.At.After(at.AsTime()) {
			at = timestamppb.New(f.At)
		}
	}
	return strings.Join(all, ", "), at
}

// foreseen is a comparison in a sentence.
func foreseen(d *pb.Diff) string {
	var parts []string
	if d.GetNamespace() {
		parts = append(parts, "the namespace would be created")
	}
	for _, n := range []struct {
		count int32
		what  string
	}{{d.GetCreated(), "created"}, {d.GetChanged(), "changed"}, {d.GetDeleted(), "deleted"}} {
		if n.count > 0 {
			parts = append(parts, fmt.Sprintf("%d would be %s", n.count, n.what))
		}
	}
	if len(parts) == 0 {
		return "nothing would be changed"
	}
	return strings.Join(parts, ", ")
}
