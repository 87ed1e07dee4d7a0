package ociregistry

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Role is what a credential may do. Roles are ordered: each may do what the ones before it may.
type Role int

const (
	// Pull reads every repository, the mirror included.
	Pull Role = iota + 1
	// Push also writes repositories, but not those of the mirror.
	Push
	// Mirror also writes the base images below MirrorPrefix.
	Mirror
)

// String names the role as error messages and logs do.
func (r Role) String() string {
	switch r {
	case Pull:
		return "pull"
	case Push:
		return "push"
	case Mirror:
		return "mirror"
	default:
		return fmt.Sprintf("role %d", int(r))
	}
}

// Credential is a user name and password for HTTP basic authentication, and what they are good for.
type Credential struct {
	User     string
	Password string
	Role     Role
}

// grant is a credential as the server keeps it: hashed, so that comparing takes the same time whatever was sent.
type grant struct {
	user, password [sha256.Size]byte
	role           Role
}

// guard lets a request through to next when its credential may do what it asks.
type guard struct {
	grants []grant
	next   http.Handler
}

func newGuard(credentials []Credential, next http.Handler) (*guard, error) {
	g := &guard{next: next}
	for i, c := range credentials {
		if c.User == "" || c.Password == "" {
			return nil, fmt.Errorf("registry credential %d: user and password must not be empty", i)
		}
		if c.Role < Pull || c.Role > Mirror {
			return nil, fmt.Errorf("registry credential %q: %s is not one of pull, push, mirror", c.User, c.Role)
		}
		g.grants = append(g.grants, grant{sha256.Sum256([]byte(c.User)), sha256.Sum256([]byte(c.Password)), c.Role})
	}
	return g, nil
}

// role finds what the request's credential may do; 0 when it has none that is known. Every grant is compared, so the
// time taken does not tell which user exists.
func (g *guard) role(r *http.Request) Role {
	user, password, ok := r.BasicAuth()
	if !ok {
		return 0
	}
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	var found Role
	for _, c := range g.grants {
		if subtle.ConstantTimeCompare(u[:], c.user[:])&subtle.ConstantTimeCompare(p[:], c.password[:]) == 1 {
			found = max(found, c.role)
		}
	}
	return found
}

// needs is the least role that may make the request.
func needs(r *http.Request) Role {
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return Pull
	case inMirror(r.URL.Path):
		return Mirror
	default:
		return Push
	}
}

func inMirror(path string) bool { return strings.HasPrefix(path, "/v2/"+mirrorRoot+"/") }

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	have, want := g.role(r), needs(r)
	switch {
	case have == 0:
		w.Header().Set("WWW-Authenticate", `Basic realm="slipway registry"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED",
			"this registry needs a credential, on loopback too: log in with a "+want.String()+" credential of this farm")
	case have < want:
		refuse(w, http.StatusForbidden, "DENIED",
			fmt.Sprintf("%s %s needs a %s credential; the one sent is for %s", r.Method, r.URL.Path, want, have))
	default:
		g.next.ServeHTTP(w, r)
	}
}

// refuse answers in the error format of the OCI distribution specification, which clients print.
func refuse(w http.ResponseWriter, status int, code, message string) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(map[string][]entry{"errors": {{code, message}}})
	if err != nil {
		body = []byte(`{"errors":[]}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // The client may be gone; there is nobody else to tell.
}
