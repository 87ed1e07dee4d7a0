package farm

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Owned answers the projects whose partition a coordinator owns now, as the bucket of owners
// says; none if that cannot be told.
func (f *Farm) Owned(ctx context.Context, coordinator int) []string {
	js, err := f.jetStream()
	if err != nil {
		return nil
	}
	owners, err := js.KeyValue(ctx, "SLIPWAY_OWNERS")
	if err != nil {
		return nil
	}
	homes, err := js.KeyValue(ctx, "SLIPWAY_HOMES")
	if err != nil {
		return nil
	}
	var out []string
	for i := range f.Projects {
		home, err := homes.Get(ctx, Project(i))
		if err != nil {
			continue
		}
		n, err := strconv.Atoi(string(home.Value()))
		if err != nil {
			continue
		}
		e, err := owners.Get(ctx, fmt.Sprintf("partition.%d", n))
		if err != nil {
			continue
		}
		var r struct{ Name string }
		if json.Unmarshal(e.Value(), &r) == nil && strings.HasSuffix(r.Name, fmt.Sprintf("-%d", coordinator)) {
			out = append(out, Project(i))
		}
	}
	return out
}

// jetStream is the farm's own connection to its NATS.
func (f *Farm) jetStream() (jetstream.JetStream, error) {
	f.asking.Lock()
	defer f.asking.Unlock()
	if f.asked != nil {
		return f.asked, nil
	}
	nc, err := nats.Connect(f.NATSURL(-1), nats.MaxReconnects(-1))
	if err != nil {
		return nil, fmt.Errorf("NATS: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("NATS: %w", err)
	}
	f.asked = js
	return js, nil
}
