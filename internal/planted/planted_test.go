package planted_test

import (
	"testing"

	"github.com/slipway-build/slipway/internal/planted"
)

func TestThereAreTwenty(t *testing.T) {
	if n := len(planted.All()); n != 20 {
		t.Errorf("%d mistakes, want 20", n)
	}
}

// TestNoneInAnOrdinaryBuild: there Set has nothing to turn on.
func TestNoneInAnOrdinaryBuild(t *testing.T) {
	if planted.Possible {
		t.Skip("this build is the finder's")
	}
	for _, b := range planted.All() {
		planted.Set(b)
		if b.On() {
			t.Errorf("mistake %d is in an ordinary build", b)
		}
	}
}
