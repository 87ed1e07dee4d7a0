package apply

import (
	"errors"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conflict is one field that the API server does not let Slipway set: path is its own spelling of it.
type conflict struct{ path, manager string }

// conflicts lists the fields of a server-side apply that other managers hold.
func conflicts(err error) []conflict {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	var out []conflict
	for _, cause := range status.Status().Details.Causes {
		if cause.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		manager := cause.Message
		if parts := strings.SplitN(cause.Message, `"`, 3); len(parts) == 3 {
			manager = parts[1]
		}
		out = append(out, conflict{path: cause.Field, manager: manager})
	}
	return out
}

// sentence is the API server's own answer without the name of the object in front, which Refusal.Object already says, and
// with advice where its text alone does not tell what to do.
func sentence(err error) string {
	text := err.Error()
	if i := strings.Index(text, "typed patch object"); i >= 0 {
		if _, rest, ok := strings.Cut(text[i:], "): "); ok {
			text = strings.TrimPrefix(rest, ".")
		}
	}
	if loc := regexp.MustCompile(`^\S+( "[^"]*")? is (invalid|forbidden): `).FindStringIndex(text); loc != nil {
		text = text[loc[1]:]
	}
	if strings.Contains(text, "field is immutable") {
		text += "; it cannot be changed on a live object: give the object another name, or delete it first"
	}
	return text
}
