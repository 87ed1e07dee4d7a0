package kit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// callTimeout bounds one call to another service.
const callTimeout = 5 * time.Second

// URL finds another service: <NAME>_URL where it is set, else the address that Kubernetes puts into each container as
// <NAME>_SERVICE_HOST and <NAME>_SERVICE_PORT, else its name in the cluster's DNS.
func URL(getenv func(string) string, service string) string {
	name := strings.ToUpper(strings.ReplaceAll(service, "-", "_"))
	if url := getenv(name + "_URL"); url != "" {
		return strings.TrimSuffix(url, "/")
	}
	if host := getenv(name + "_SERVICE_HOST"); host != "" {
		port := getenv(name + "_SERVICE_PORT")
		if port == "" {
			port = "80"
		}
		return "http://" + net.JoinHostPort(host, port)
	}
	return "http://" + service
}

// Client calls one other service.
type Client struct {
	service, base string
	http          *http.Client
}

// NewClient makes a client of the service at the base URL.
func NewClient(service, base string) *Client {
	return &Client{service: service, base: base, http: &http.Client{Timeout: callTimeout}}
}

// Call sends in as JSON, nil for no body, and reads the answer into out, nil to ignore it. A status of 400 and above is
// an *Error with that status; a service that cannot be reached is one with 502.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		content, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(content)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return Errorf(http.StatusBadGateway, "%s cannot be reached: %v", c.service, err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 400 {
		failure := Error{Status: response.StatusCode}
		if json.NewDecoder(response.Body).Decode(&failure) != nil || failure.Message == "" {
			failure.Message = response.Status
		}
		failure.Message = fmt.Sprintf("%s: %s", c.service, failure.Message)
		return &failure
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return Errorf(http.StatusBadGateway, "%s: unreadable answer: %v", c.service, err)
	}
	return nil
}
