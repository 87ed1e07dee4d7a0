//go:build !linux

package doctor

import "runtime"

// Check answers every question.
func Check(Options) []Finding {
	return []Finding{{Name: "linux", Detail: "this is " + runtime.GOOS, Fix: "use --kind kwok"}}
}
