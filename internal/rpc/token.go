package rpc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// tokenPrefix makes a token recognizable to scanners for leaked secrets.
const tokenPrefix = "slipway_"

// Token is a credential as the server knows it.
type Token struct {
	// Name for people, logs and the journal: "ci", "anna".
	Name string
	// Hash is what HashToken made of the secret: "sha256:…".
	Hash string
	Role pb.Role
	// Groups that the holder belongs to, e.g. teams.
	Groups []string
}

// Identity is who a call comes from.
type Identity struct {
	Name   string
	Role   pb.Role
	Groups []string
}

// NewToken makes a secret of 256 random bits.
func NewToken() string {
	var b [32]byte
	rand.Read(b[:])
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// HashToken is what a configuration holds of a secret. The secrets are random and
// long, so that a fast hash without salt is enough.
func HashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ParseRole reads the name of a role as configurations write it: view, submit,
// approve, administer, worker.
func ParseRole(name string) (pb.Role, error) {
	if v, ok := pb.Role_value["ROLE_"+strings.ToUpper(name)]; ok && v != 0 && pb.Role(v) != pb.Role_ROLE_PEER && name == strings.ToLower(name) {
		return pb.Role(v), nil
	}
	return pb.Role_ROLE_UNSPECIFIED, fmt.Errorf("role %q does not exist; expected view, submit, approve, administer or worker", name)
}

// RoleName is the opposite of ParseRole.
func RoleName(r pb.Role) string { return strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_")) }

// Includes says whether a credential of role held may call what needs role need.
func Includes(held, need pb.Role) bool {
	switch need {
	case pb.Role_ROLE_VIEW:
		return held == pb.Role_ROLE_VIEW || held == pb.Role_ROLE_SUBMIT || held == pb.Role_ROLE_APPROVE || held == pb.Role_ROLE_ADMINISTER
	case pb.Role_ROLE_SUBMIT:
		return held == pb.Role_ROLE_SUBMIT || held == pb.Role_ROLE_ADMINISTER
	case pb.Role_ROLE_APPROVE:
		return held == pb.Role_ROLE_APPROVE || held == pb.Role_ROLE_ADMINISTER
	case pb.Role_ROLE_ADMINISTER:
		return held == pb.Role_ROLE_ADMINISTER
	case pb.Role_ROLE_WORKER:
		return held == pb.Role_ROLE_WORKER
	case pb.Role_ROLE_PEER:
		return held == pb.Role_ROLE_PEER
	case pb.Role_ROLE_UNSPECIFIED:
	}
	return false
}

// Tokens answers who a secret belongs to. It is immutable.
type Tokens struct {
	list []hashed
}

type hashed struct {
	sum [sha256.Size]byte
	who Identity
}

// NewTokens checks a configuration's tokens and reports every mistake at once.
func NewTokens(list []Token) (*Tokens, error) {
	t := &Tokens{}
	var errs []error
	names, hashes := map[string]bool{}, map[string]bool{}
	for i, tok := range list {
		if tok.Name == "" || names[tok.Name] {
			errs = append(errs, fmt.Errorf("token %d: the name %q is empty or was used before", i+1, tok.Name))
		}
		if tok.Role == pb.Role_ROLE_UNSPECIFIED {
			errs = append(errs, fmt.Errorf("token %q: it has no role", tok.Name))
		}
		raw, ok := strings.CutPrefix(tok.Hash, "sha256:")
		sum, err := hex.DecodeString(raw)
		if !ok || err != nil || len(sum) != sha256.Size {
			errs = append(errs, fmt.Errorf("token %q: expected its hash as sha256: and 64 hex digits, never the token itself", tok.Name))
			continue
		}
		if hashes[tok.Hash] {
			errs = append(errs, fmt.Errorf("token %q: another token has the same hash", tok.Name))
		}
		names[tok.Name], hashes[tok.Hash] = true, true
		t.list = append(t.list, hashed{[sha256.Size]byte(sum), Identity{tok.Name, tok.Role, tok.Groups}})
	}
	return t, errors.Join(errs...)
}

// Identify takes the same time for every secret of a length.
func (t *Tokens) Identify(secret string) (Identity, bool) {
	sum := sha256.Sum256([]byte(secret))
	found := -1
	for i := range t.list {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], t.list[i].sum[:]), i, found)
	}
	if found < 0 || secret == "" {
		return Identity{}, false
	}
	return t.list[found].who, true
}

type identityKey struct{}

// IdentityFrom is who the call of this context comes from. It is always there in a
// handler of a method that needs a role.
func IdentityFrom(ctx context.Context) (Identity, bool) {
	who, ok := ctx.Value(identityKey{}).(Identity)
	return who, ok
}

// WithIdentity is for calls within a process, and for tests of handlers.
func WithIdentity(ctx context.Context, who Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, who)
}
