// Package enginetest says what becomes of a test whose engine is not on this machine. It
// looks for none itself.
package enginetest

import (
	"os"
	"testing"
)

// Missing skips the test, and says why. In CI, whose set-up installs every engine, it
// fails: a skip there would hide that the set-up did not.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
