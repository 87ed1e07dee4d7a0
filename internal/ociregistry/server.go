package ociregistry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // The driver that newApp names.
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
)

const (
	mirrorRoot = "mirror"

	// MirrorPrefix is put before the name of a docker.io repository: docker.io/library/golang is served as
	// MirrorPrefix + "/library/golang". A client that knows mirrors with a path (BuildKit does) is given
	// host + "/" + MirrorPrefix.
	MirrorPrefix = mirrorRoot + "/docker.io"

	// drain is how long requests under way may take to finish once the server stops. A push that is cut off is
	// repeated by its client, so this need not cover the largest layer.
	drain = 5 * time.Second
)

// MirrorOf is what MirrorPrefix is to docker.io, for another registry.
func MirrorOf(host string) string { return mirrorRoot + "/" + host }

// Config says where a registry keeps its content and who may use it.
type Config struct {
	// Dir holds pushed images. It is created.
	Dir string
	// MirrorDir holds base images; empty means that there is no mirror and every name below MirrorPrefix is unknown.
	MirrorDir string
	// Credentials are all that are accepted. With none, every request is refused.
	Credentials []Credential
	// Log receives warnings of the storage; nil discards them.
	Log *slog.Logger
}

// Server is a registry. Its content outlives it.
type Server struct {
	handler http.Handler
	apps    []*handlers.App
	log     *slog.Logger
	close   sync.Once
}

// New opens the registry's folders. Close must be called, or Run, which calls it.
func New(cfg Config) (*Server, error) {
	if cfg.Dir == "" {
		return nil, errors.New("registry: no folder given to keep images in")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	// The library logs a line or two for every request, and only through logrus' standard logger, which nothing else
	// here uses. What it has to say is in its answers.
	logrus.SetOutput(io.Discard)
	s := &Server{log: cfg.Log}
	images, err := s.open(cfg.Dir)
	if err != nil {
		return nil, err
	}
	mirror := http.Handler(http.HandlerFunc(noMirror))
	if cfg.MirrorDir != "" {
		if mirror, err = s.open(cfg.MirrorDir); err != nil {
			s.Close()
			return nil, err
		}
	}
	route := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if inMirror(r.URL.Path) {
			mirror.ServeHTTP(w, r)
			return
		}
		images.ServeHTTP(w, r)
	})
	if s.handler, err = newGuard(cfg.Credentials, route); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Handler answers the OCI distribution API below /v2/.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves on every listener until the context ends, lets requests under way finish, and closes the server. A
// listener for another address than loopback should come from CA.Listener, which adds TLS.
func (s *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	defer s.Close()
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		server := &http.Server{
			Handler:           s.handler,
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		}
		group.Go(func() error {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve registry on %s: %w", l.Addr(), err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
			defer cancel()
			err := server.Shutdown(stop)
			if errors.Is(err, context.DeadlineExceeded) {
				// Requests had their time. A connection that never sent one counts as open too.
				s.log.Warn("registry closes connections that are still open", "address", l.Addr().String())
				return server.Close()
			}
			return err
		})
	}
	return group.Wait()
}

// Close stops the storage's own upkeep. It may be called more than once.
func (s *Server) Close() {
	s.close.Do(func() {
		for _, app := range s.apps {
			if err := app.Shutdown(); err != nil {
				s.log.Warn("close registry storage", "err", err)
			}
		}
	})
}

// open makes the handler for one root folder.
func (s *Server) open(dir string) (handler http.Handler, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("registry folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("registry folder: %w", err)
	}
	// The library reports a bad configuration by panicking. Ours is fixed, but a folder can still be unusable.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("open registry folder %s: %v", dir, p)
		}
	}()
	cfg := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": configuration.Parameters{"rootdirectory": dir},
			"delete":     configuration.Parameters{"enabled": true},
			"redirect":   configuration.Parameters{"disable": true},
			"cache":      configuration.Parameters{"blobdescriptor": "inmemory"},
		},
	}
	// Clients reach the same content by several addresses, so no answer may name one of them.
	cfg.HTTP.RelativeURLs = true
	cfg.Catalog.MaxEntries = 1000
	cfg.Tags.MaxTags = 1000

	app := handlers.NewApp(context.Background(), cfg)
	s.apps = append(s.apps, app)
	return app, nil
}

func noMirror(w http.ResponseWriter, _ *http.Request) {
	refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "this farm has no mirror: make base images with slipway images bootstrap")
}
