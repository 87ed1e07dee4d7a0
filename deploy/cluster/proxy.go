package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxBody bounds what is read of an answer: it is for a message, not for use.
const maxBody = 4 << 10

// Answer is what a service said through the API server's proxy.
type Answer struct {
	Status int
	// Body is the beginning of the answer, or the API server's own sentence when nothing stood behind the service.
	Body string
}

// Proxied asks name of resource ("services": "api:8080", "pods": "api-0:8080") for path with GET, through the API server. Pod and
// service addresses are never dialed from here, and redirects are not followed: both could lead out of the cluster.
func (c *Cluster) Proxied(ctx context.Context, namespace, resource, name, path string) (Answer, error) {
	doing := fmt.Sprintf("get %s of %s/%s", path, resource, name)
	relative, query, _ := strings.Cut(path, "?")
	target, err := url.Parse(strings.TrimSuffix(c.server, "/"))
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", doing, err)
	}
	target = target.JoinPath("api/v1/namespaces", namespace, resource, name, "proxy", relative)
	target.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", doing, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, c.Explain(doing, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return Answer{}, c.Explain(doing, err)
	}
	var status metav1.Status
	if resp.StatusCode >= http.StatusBadRequest && json.Unmarshal(body, &status) == nil && status.Kind == "Status" {
		if err := error(&apierrors.StatusError{ErrStatus: status}); apierrors.IsUnauthorized(err) || deniedByRBAC(err) {
			return Answer{}, c.Explain(doing, err)
		}
		return Answer{Status: resp.StatusCode, Body: status.Message}, nil
	}
	return Answer{Status: resp.StatusCode, Body: strings.TrimSpace(strings.ToValidUTF8(string(body), "?"))}, nil
}
