// Package provider asks for measurements over HTTP: Prometheus and what speaks its API, Datadog, and services that answer JSON.
//
// What an answer means for a candidate is decided in package analysis.
package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer is how much of an answer is read, in bytes: one number is asked for.
const maxAnswer = 1 << 20

// Endpoint is where a provider is, and who asks.
type Endpoint struct {
	Address string // http://host:port/path or https://
	Token   string // sent as Authorization: Bearer; empty: none
	CA      []byte // certificates in PEM that signed the provider's; empty: the system's
}

// CheckAddress says what is wrong with the address of a provider. secret: credentials are sent there.
func CheckAddress(address string, secret bool) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return err
	case u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%q, want https://host:port, with a path where it has one", address)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("want nothing but scheme, host and path")
	case secret && u.Scheme == "http" && u.Hostname() != "127.0.0.1" && u.Hostname() != "localhost" && u.Hostname() != "::1":
		return fmt.Errorf("%q: a credential is sent there, which needs https", address)
	}
	return nil
}

// open makes a client that sends the headers to the endpoint alone.
func open(e Endpoint, headers map[string]string) (*http.Client, string, error) {
	if e.Token != "" {
		headers = map[string]string{"Authorization": "Bearer " + e.Token}
	}
	if err := CheckAddress(e.Address, len(headers) > 0); err != nil {
		return nil, "", fmt.Errorf("address: %w", err)
	}
	base := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if len(e.CA) > 0 {
		base.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !base.TLSClientConfig.RootCAs.AppendCertsFromPEM(e.CA) {
			return nil, "", errors.New("ca_file: there is no certificate in it")
		}
	}
	return &http.Client{Transport: &guarded{base, headers}, CheckRedirect: stay}, strings.TrimRight(e.Address, "/"), nil
}

// guarded adds headers to requests, and reads no more of an answer than there may be.
type guarded struct {
	base    *http.Transport
	headers map[string]string
}

// RoundTrip implements http.RoundTripper.
func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	for name, value := range g.headers {
		req.Header.Set(name, value)
	}
	resp, err := g.base.RoundTrip(req)
	if err == nil {
		resp.Body = &limited{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, err
}

// CloseIdleConnections is what http.Client asks for.
func (g *guarded) CloseIdleConnections() { g.base.CloseIdleConnections() }

var errTooLong = fmt.Errorf("the answer has more than %d bytes; have the query add up what it finds", maxAnswer)

type limited struct {
	io.ReadCloser
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left+1)])
	if l.left -= n; l.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

// stay follows redirects of the same host alone: others would take the credentials elsewhere.
func stay(to *http.Request, via []*http.Request) error {
	first := via[0].URL
	if to.URL.Scheme != first.Scheme || to.URL.Host != first.Host {
		return fmt.Errorf("a redirect to %s://%s is not followed: correct the address", to.URL.Scheme, to.URL.Host)
	}
	if len(via) > 3 || to.Method != via[0].Method {
		return fmt.Errorf("a redirect to %s is not followed: correct the address", to.URL.Path)
	}
	return nil
}

// get answers the body of an answer that is 200.
func get(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}
