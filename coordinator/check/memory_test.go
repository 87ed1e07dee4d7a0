package check_test

import (
	"maps"
	"testing"

	"github.com/slipway-build/slipway/coordinator/check"
	"github.com/slipway-build/slipway/internal/natstest"
)

func TestTheBucketRemembers(t *testing.T) {
	s := natstest.Start(t)
	b, err := check.Open(t.Context(), s.JetStream(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Load(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("a new one has %v, %v", got, err)
	}
	for _, told := range [][2]string{{"a", "r1 pending\n"}, {"b", "r2 ended\nr3 ended\n"}, {"a", "r1 ended\n"}} {
		if err := b.Save(t.Context(), told[0], told[1]); err != nil {
			t.Fatal(err)
		}
	}
	if b, err = check.Open(t.Context(), s.JetStream(t), 1); err != nil {
		t.Fatal(err)
	}
	got, err := b.Load(t.Context())
	if want := map[string]string{"a": "r1 ended\n", "b": "r2 ended\nr3 ended\n"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("remembered is %v, %v; want %v", got, err, want)
	}
}
