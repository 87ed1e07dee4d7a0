package readmodel

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	keySize = 32
	idSize  = 8
)

// Key authenticates values, so that one that somebody else wrote, or moved to another
// name, is a miss. Its id also keeps farms apart that share a Redis.
type Key struct {
	secret []byte
	id     string
}

// OpenKey reads a key file, and makes it if it is not there. It holds a secret of the
// coordinator's: whoever has it can make lists up.
func OpenKey(path string) (Key, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		fresh := make([]byte, keySize)
		_, _ = rand.Read(fresh) // never fails
		data = []byte(hex.EncodeToString(fresh))
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
	}
	if err != nil {
		return Key{}, fmt.Errorf("key of the read model: %w", err)
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(data)))
	if err != nil || len(secret) != keySize {
		return Key{}, fmt.Errorf("key of the read model: %s is damaged, want %d hex digits; remove it, and a new one is made", path, 2*keySize)
	}
	return NewKey(secret), nil
}

// NewKey makes a key of a secret.
func NewKey(secret []byte) Key {
	sum := sha256.Sum256(append([]byte("slipway read model key id\n"), secret...))
	return Key{secret: secret, id: hex.EncodeToString(sum[:idSize/2])}
}

// name in Redis.
func (k Key) name(s string) string { return "slipway:" + k.id + ":" + s }

// sealer signs values of one generation.
type sealer struct {
	key        Key
	generation string
}

func (s sealer) mac(name string, value []byte) []byte {
	h := hmac.New(sha256.New, s.key.secret)
	for _, part := range [][]byte{[]byte(s.key.id), []byte(name), []byte(s.generation), value} {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // never fails
		_, _ = h.Write(part)                                                  // never fails
	}
	return h.Sum(nil)
}

// seal is the key's id, the MAC, and the value.
func (s sealer) seal(name string, value []byte) []byte {
	out := append([]byte(s.key.id), s.mac(name, value)...)
	return append(out, value...)
}

// open answers the value if it was sealed for that name in this generation.
func (s sealer) open(name, sealed string) ([]byte, bool) {
	if len(sealed) < idSize+sha256.Size || sealed[:idSize] != s.key.id {
		return nil, false
	}
	value := []byte(sealed[idSize+sha256.Size:])
	return value, hmac.Equal([]byte(sealed[idSize:idSize+sha256.Size]), s.mac(name, value))
}
