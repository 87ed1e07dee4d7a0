package workspace

import (
	"cmp"
	"errors"
	"io"

	"github.com/slipway-build/slipway/internal/archive"
)

// ErrRefused means that an archive holds what no workspace may hold. It is the
// repository's mistake, not the farm's.
var ErrRefused = errors.New("source refused")

// Limits of one source.
type Limits struct {
	Bytes int64 // of all files; 0: 4 GiB
	Files int   // entries; 0: 1,000,000
}

func (l Limits) withDefaults() Limits {
	return Limits{Bytes: cmp.Or(l.Bytes, 4<<30), Files: cmp.Or(l.Files, 1_000_000)}
}

// Extract writes the files, folders and links of a tar stream below dir, which must
// exist, and answers the bytes of the files. Modes keep their permission bits, all
// times become the same. Nothing outside dir is touched, whatever the archive says.
func Extract(dir string, r io.Reader, limits Limits) (int64, error) {
	return archive.Extract(dir, r, archive.Rules{
		Bytes: limits.Bytes, Files: limits.Files, Refused: ErrRefused, Whole: "the repository",
		Large: "narrow the service's paths in slipway.yaml", Links: "a build must not depend on the machine it runs on",
	})
}
