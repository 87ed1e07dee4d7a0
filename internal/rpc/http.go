package rpc

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Listen opens an address. Without TLS it must be a loopback one.
func Listen(ctx context.Context, address string, encrypted bool) (net.Listener, error) {
	if !encrypted {
		if err := mustBeLoopback(ctx, address); err != nil {
			return nil, err
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// Require lets HTTP requests through whose bearer token has a role.
func (t *Tokens) Require(role pb.Role, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch who, ok := t.Identify(secret); {
		case !ok:
			w.Header().Set("WWW-Authenticate", `Bearer realm="slipway"`)
			http.Error(w, "a token is needed: send Authorization: Bearer TOKEN", http.StatusUnauthorized)
		case !Includes(who.Role, role):
			http.Error(w, fmt.Sprintf("token %q has the role %s; this needs %s", who.Name, RoleName(who.Role), RoleName(role)), http.StatusForbidden)
		default:
			next.ServeHTTP(w, r.WithContext(WithIdentity(r.Context(), who)))
		}
	})
}
