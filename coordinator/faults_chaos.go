//go:build chaos

package main

import (
	"strconv"

	"github.com/slipway-build/slipway/internal/failpoint"
	"github.com/slipway-build/slipway/internal/planted"
)

// faults arms a point at which this process is killed, SLIPWAY_FAILPOINT=name:n, and makes
// a mistake, SLIPWAY_PLANTED=number.
func faults(lookup func(string) (string, bool)) {
	failpoint.FromEnv(lookup)
	if v, ok := lookup("SLIPWAY_PLANTED"); ok {
		n, err := strconv.Atoi(v)
		if err != nil {
			panic("SLIPWAY_PLANTED: " + err.Error())
		}
		planted.Set(planted.Bug(n))
	}
}
