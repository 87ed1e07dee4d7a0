package buildkit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/moby/buildkit/session/auth"
	"google.golang.org/grpc"
)

// Credentials are a user and a password or token of a registry.
type Credentials struct {
	User   string
	Secret string
}

// ParseAuth reads the `auths` of a docker configuration file. Credential helpers are
// refused: a worker runs no programs of the machine it is on.
func ParseAuth(data []byte) (map[string]Credentials, error) {
	var file struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Username      string `json:"username"`
			Password      string `json:"password"`
			IdentityToken string `json:"identitytoken"`
		} `json:"auths"`
		CredsStore  string            `json:"credsStore"`
		CredHelpers map[string]string `json:"credHelpers"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("read registry credentials: %w", err)
	}
	if file.CredsStore != "" || len(file.CredHelpers) > 0 {
		return nil, fmt.Errorf("read registry credentials: credsStore and credHelpers are not supported; put user and password under auths")
	}
	out := map[string]Credentials{}
	for host, a := range file.Auths {
		c := Credentials{User: a.Username, Secret: a.Password}
		if a.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(a.Auth)
			if err != nil {
				return nil, fmt.Errorf("read registry credentials: auths.%q.auth is not base64", host)
			}
			user, secret, ok := strings.Cut(string(plain), ":")
			if !ok {
				return nil, fmt.Errorf("read registry credentials: auths.%q.auth is not the base64 of user:password", host)
			}
			c = Credentials{User: user, Secret: strings.TrimRight(secret, "\x00")}
		}
		if a.IdentityToken != "" {
			c = Credentials{Secret: a.IdentityToken}
		}
		out[authHost(host)] = c
	}
	return out, nil
}

// authHost brings the keys of docker's file ("https://index.docker.io/v1/") to hosts.
func authHost(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, _, _ := strings.Cut(key, "/")
	if host == "index.docker.io" || host == "docker.io" {
		return "registry-1.docker.io"
	}
	return host
}

// authServer answers the daemon's question for credentials. It leaves the fetching of
// tokens to the daemon, which then sees the password; the daemon runs the user's
// builds for us and could take it anyway.
type authServer struct {
	auth.UnimplementedAuthServer
	auth map[string]Credentials
}

func (s authServer) Register(server *grpc.Server) { auth.RegisterAuthServer(server, s) }

func (s authServer) Credentials(_ context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	c := s.auth[req.Host]
	return &auth.CredentialsResponse{Username: c.User, Secret: c.Secret}, nil
}
