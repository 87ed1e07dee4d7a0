package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-build/slipway/internal/rpc"
	"github.com/slipway-build/slipway/internal/telemetry"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// HTTP is the part of a configuration that says where metrics and health are answered.
type HTTP struct {
	Address   string `yaml:"address,required"`    // host:port
	TokenFile string `yaml:"token_file,required"` // what readers of /metrics send as a bearer token
	TLS       TLS    `yaml:"tls"`                 // needed on every address but loopback

	Token string
}

// TLS names a certificate and its key, in PEM.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Read reads the files that it names. A nil HTTP names none.
func (h *HTTP) Read(f *Files) {
	if h == nil {
		return
	}
	h.Token = f.Secret("http.token_file", h.TokenFile)
	h.TLS.Cert, h.TLS.Key = f.Path(h.TLS.Cert), f.Path(h.TLS.Key)
}

// Validate reports what is wrong, below the key "http".
func (h HTTP) Validate() error {
	var problems []error
	if _, _, err := net.SplitHostPort(h.Address); err != nil {
		problems = append(problems, fmt.Errorf("http.address: %q is no host:port, e.g. 127.0.0.1:9464", h.Address))
	}
	if h.Token == "" {
		problems = append(problems, errors.New("http.token_file: /metrics needs a token; name the file that holds it"))
	}
	if err := h.TLS.Validate("http.tls"); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// Validate reports half a pair.
func (t TLS) Validate(key string) error {
	if (t.Cert == "") != (t.Key == "") {
		return fmt.Errorf("%s: cert and key belong together", key)
	}
	return nil
}

// Load reads the pair; nil when none is named.
func (t TLS) Load() (*tls.Config, error) {
	if t.Cert == "" {
		return nil, nil //nolint:nilnil // no TLS is no mistake
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate and its key: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// Serve answers /metrics and /healthz until the function that it answers is called. A nil
// HTTP is none.
func (h *HTTP) Serve(ctx context.Context, metrics *prometheus.Registry, log *slog.Logger) (stop func() error, err error) {
	if h == nil {
		return func() error { return nil }, nil
	}
	tokens, err := rpc.NewTokens([]rpc.Token{{Name: "metrics", Role: pb.Role_ROLE_VIEW, Hash: rpc.HashToken(h.Token)}})
	if err != nil {
		return nil, fmt.Errorf("http.token_file: %w", err)
	}
	conf, err := h.TLS.Load()
	if err != nil {
		return nil, fmt.Errorf("http.tls: %w", err)
	}
	return Serve(ctx, h.Address, conf, Routes(metrics, tokens), log)
}

// Routes answers /metrics to who may view, and /healthz, which says nothing but that the
// program runs, to everyone: probes have no credential.
func Routes(metrics *prometheus.Registry, tokens *rpc.Tokens) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", tokens.Require(pb.Role_ROLE_VIEW, telemetry.MetricsHandler(metrics)))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	return mux
}

// Serve answers HTTP on an address, which must be a loopback one without TLS, until the
// function that it answers is called.
func Serve(ctx context.Context, address string, conf *tls.Config, h http.Handler, log *slog.Logger) (stop func() error, err error) {
	l, err := rpc.Listen(ctx, address, conf != nil)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP: %w", err)
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	return func() error {
		err := srv.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}
