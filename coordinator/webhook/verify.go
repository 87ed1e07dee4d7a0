package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// ErrSignature: a delivery is not from who knows the secret.
var ErrSignature = errors.New("not authentic")

// Verify tells whether who sent the body knows the secret. How long it takes does not
// depend on how much of a wrong signature is right. An empty secret admits nobody.
//
// GitLab signs nothing: its token vouches for the sender, and not for the body.
func Verify(kind Kind, header http.Header, body []byte, secret string) error {
	names := map[Kind]string{GitHub: "X-Hub-Signature-256", Bitbucket: "X-Hub-Signature", Gitea: "X-Gitea-Signature", GitLab: "X-Gitlab-Token"}
	name, ok := names[kind]
	if !ok || secret == "" {
		return fmt.Errorf("%w: webhook of kind %q without a secret", ErrSignature, kind)
	}
	sent, err := one(header, name)
	if err != nil {
		return fmt.Errorf("%w: %w; the host needs the secret of this webhook", ErrSignature, err)
	}
	if kind == GitLab {
		// Hashes are of one length, so that the secret's own is not told either.
		got, want := sha256.Sum256([]byte(sent)), sha256.Sum256([]byte(secret))
		return verdict(name, subtle.ConstantTimeCompare(got[:], want[:]) == 1)
	}
	digits := sent
	if kind != Gitea {
		if digits, ok = strings.CutPrefix(sent, "sha256="); !ok {
			return fmt.Errorf("%w: the header %s does not begin with sha256=", ErrSignature, name)
		}
	}
	got, err := hex.DecodeString(digits)
	if err != nil || len(got) != sha256.Size {
		return fmt.Errorf("%w: the header %s is no HMAC-SHA256 in hex", ErrSignature, name)
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return verdict(name, hmac.Equal(got, mac.Sum(nil)))
}

func verdict(name string, ok bool) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%w: the header %s is wrong: the host and slipway have different secrets, or the body was changed", ErrSignature, name)
}
