package address_test

import (
	"testing"

	"github.com/slipway-build/slipway/scripts/devcluster/address"
)

func TestPlansOfDifferentIndexesShareNothing(t *testing.T) {
	seen := map[string]int{}
	for i := 0; i <= address.MaxIndex; i++ {
		p, err := address.ForIndex(i)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{p.Netns, p.Link.String(), p.Pods.String(), p.Services.String()} {
			if other, ok := seen[s]; ok {
				t.Fatalf("%s belongs to index %d and to %d", s, other, i)
			}
			seen[s] = i
		}
		if len(p.HostLink) > 15 {
			t.Errorf("%s: the kernel takes at most 15 bytes as the name of a link", p.HostLink)
		}
		for _, ip := range []bool{p.Link.Contains(p.HostIP), p.Link.Contains(p.NodeIP), p.Services.Contains(p.Kubernetes)} {
			if !ip {
				t.Errorf("index %d: an address lies outside its range: %+v", i, p)
			}
		}
	}
}

func TestIndexOutOfRangeIsRefused(t *testing.T) {
	for _, i := range []int{-1, address.MaxIndex + 1} {
		if _, err := address.ForIndex(i); err == nil {
			t.Errorf("index %d was accepted", i)
		}
	}
}
