package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Kind says why a cluster could not be asked.
type Kind string

// Kinds of *Error.
const (
	Unreachable Kind = "unreachable" // nothing answers, or what answers is not working
	Denied      Kind = "denied"      // it answers, and does not let the deployer do this
	NoLogin     Kind = "no login"    // it was not asked: the kubeconfig's program gave no credentials
)

// Error means that the farm could not tell: nothing is known about the work. It is never the release's fault.
type Error struct {
	Cluster string
	Server  string
	Doing   string // "apply Deployment/api"
	Kind    Kind
	Advice  string
	Err     error
}

func (e *Error) Error() string {
	verb := "does not answer"
	switch e.Kind {
	case Denied:
		verb = "refuses the deployer"
	case NoLogin:
		verb = "was not asked, for want of credentials"
	default:
	}
	return fmt.Sprintf("cluster %q (%s) %s: %s: %s; %s", e.Cluster, e.Server, verb, e.Doing, cause(e.Err), e.Advice)
}

func (e *Error) Unwrap() error { return e.Err }

// IsUnreachable reports whether err says that a cluster did not answer.
func IsUnreachable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == Unreachable
}

// Explain returns a *Error when err says nothing about the objects that were sent, and err wrapped with what was being done
// when it does (a validation error, a conflict). A canceled context stays what it is: its cause is the caller's to read.
func (c *Cluster) Explain(doing string, err error) error {
	var already *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &already):
		return err
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, err)
	case strings.Contains(err.Error(), "getting credentials: "):
		return c.problem(doing, NoLogin, err,
			fmt.Sprintf("start the program that the user of context %q in %s names by hand, as the deployer's user", c.context, c.kubeconfig))
	case apierrors.IsUnauthorized(err), deniedByRBAC(err):
		return c.problem(doing, Denied, err, fmt.Sprintf("check the user of context %q in %s and its roles", c.context, c.kubeconfig))
	case silent(err):
		return c.problem(doing, Unreachable, err,
			fmt.Sprintf("check that it runs and that context %q in %s is right", c.context, c.kubeconfig))
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

func (c *Cluster) problem(doing string, kind Kind, err error, advice string) *Error {
	return &Error{Cluster: c.name, Server: c.server, Doing: doing, Kind: kind, Advice: advice, Err: err}
}

// deniedByRBAC tells a missing permission from an admission plugin's refusal (quota, pod security, a policy): both are 403,
// only the second is an answer about the object.
func deniedByRBAC(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), `User "`) && strings.Contains(err.Error(), " cannot ")
}

// silent reports whether err means that the server did not answer, or answered that it cannot work at the moment.
func silent(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		var netErr net.Error
		return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) || transport(err)
	}
	switch code := status.Status().Code; code {
	case http.StatusInternalServerError:
		// The typed-patch error of server-side apply is about the object, and the only 500 that is.
		return !strings.Contains(err.Error(), "typed patch object")
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

func transport(err error) bool {
	text := err.Error()
	for _, sign := range []string{"unexpected EOF", "connection reset", "connection refused", "http2:", "tls:", "x509:", ": EOF"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// cause is the innermost sentence of err: what users read first has no Get "https://…": in front of it.
func cause(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "no answer in time"
	case errors.As(err, &op):
		return op.Err.Error()
	default:
		if _, after, ok := strings.Cut(err.Error(), "getting credentials: "); ok {
			return after
		}
		return err.Error()
	}
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

func names(contexts map[string]*clientcmdapi.Context) string {
	if len(contexts) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(contexts)), ", ")
}

func versionOf(body []byte) (string, error) {
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(body, &v); err != nil || v.GitVersion == "" {
		return "", errNoVersion
	}
	return v.GitVersion, nil
}
