package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// lfsClient speaks the batch API of Git LFS with its transfer "basic", over HTTPS.
type lfsClient struct {
	http  *http.Client
	netrc string // file; may be missing
}

type lfsObject struct {
	OID     string               `json:"oid"`
	Size    int64                `json:"size"`
	Actions map[string]lfsAction `json:"actions,omitempty"`
	Error   *lfsProblem          `json:"error,omitempty"`
}

type lfsAction struct {
	Href   string            `json:"href"`
	Header map[string]string `json:"header"`
}

type lfsProblem struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// lfsAnswer bounds an answer of the batch API, in bytes.
const lfsAnswer = 8 << 20

// lfsServer is where a remote has its objects. What a commit says of it (.lfsconfig) does
// not count: commits are somebody else's, and credentials go there.
func lfsServer(r remote) (*url.URL, error) {
	var host, path string
	if u, err := url.Parse(r.address); err == nil && u.Host != "" {
		host, path = u.Host, u.Path
		if r.protocol == "ssh" {
			host = u.Hostname()
		}
	} else if m := scpAddress.FindStringSubmatch(r.address); m != nil {
		host, path = m[2], m[3]
	} else {
		return nil, fmt.Errorf("repository %s has no server for Git LFS", r.shown)
	}
	path = "/" + strings.Trim(path, "/")
	if !strings.HasSuffix(path, ".git") {
		path += ".git"
	}
	return &url.URL{Scheme: "https", Host: host, Path: path + "/info/lfs/objects/batch"}, nil
}

// batch asks where objects are.
func (c lfsClient) batch(ctx context.Context, r remote, pointers []Pointer) (map[string]lfsObject, error) {
	at, err := lfsServer(r)
	if err != nil {
		return nil, err
	}
	ask := struct {
		Operation string      `json:"operation"`
		Transfers []string    `json:"transfers"`
		Objects   []lfsObject `json:"objects"`
		Hash      string      `json:"hash_algo"`
	}{Operation: "download", Transfers: []string{"basic"}, Hash: "sha256"}
	for _, p := range pointers {
		ask.Objects = append(ask.Objects, lfsObject{OID: p.OID, Size: p.Size})
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, fmt.Errorf("ask for objects of Git LFS: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask for objects of Git LFS: %w", err)
	}
	req.Header.Set("Accept", "application/vnd.git-lfs+json")
	req.Header.Set("Content-Type", "application/vnd.git-lfs+json")
	if user, password, ok := credentials(c.netrc, at.Hostname()); ok {
		req.SetBasicAuth(user, password)
	}
	answer, err := c.do(req, r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	var got struct {
		Objects []lfsObject `json:"objects"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, lfsAnswer)).Decode(&got); err != nil {
		return nil, c.unreachable(r, "it answers what cannot be read", err)
	}
	out := make(map[string]lfsObject, len(got.Objects))
	for _, o := range got.Objects {
		out[o.OID] = o
	}
	return out, nil
}

// download gets one object.
func (c lfsClient) download(ctx context.Context, r remote, p Pointer, o lfsObject, take func(io.Reader) error) error {
	a, ok := o.Actions["download"]
	switch {
	case o.Error != nil:
		return noLFS(r, p, fmt.Sprintf("its server says %q (%d)", o.Error.Message, o.Error.Code))
	case !ok:
		return noLFS(r, p, "its server does not say where it is")
	}
	at, err := url.Parse(a.Href)
	if err != nil || at.Scheme != "https" {
		return c.unreachable(r, "it names an address that is not https", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return c.unreachable(r, "it names an address that cannot be asked", err)
	}
	for k, v := range a.Header {
		req.Header.Set(k, v)
	}
	answer, err := c.do(req, r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	return take(answer.Body)
}

// do sends a request that is answered with 200.
func (c lfsClient) do(req *http.Request, r remote) (*http.Response, error) {
	answer, err := c.http.Do(req)
	if err != nil {
		if req.Context().Err() != nil {
			return nil, context.Cause(req.Context())
		}
		var u *url.Error // without the address, which may have a signature in it
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, c.unreachable(r, err.Error(), err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	_ = answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, c.unreachable(r, "it refused the coordinator's credentials; give the coordinator's user a .netrc that names "+req.URL.Hostname(), nil)
	case http.StatusNotFound:
		return nil, c.unreachable(r, "there is none, or not for the coordinator; a .netrc of the coordinator's user names the token for "+req.URL.Hostname(), nil)
	}
	return nil, c.unreachable(r, "it answers "+answer.Status, nil)
}

func (c lfsClient) unreachable(r remote, why string, cause error) error {
	return &Error{Kind: ErrUnreachable, Message: fmt.Sprintf("the Git LFS server of repository %s cannot be read: %s", r.shown, why), Cause: cause}
}

// newHTTP follows redirects to https alone.
func newHTTP() *http.Client {
	return &http.Client{CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if req.URL.Scheme != "https" || len(via) > 5 {
			return errors.New("it redirects to what is not https, or too often")
		}
		return nil
	}}
}

// credentials finds a host in a .netrc, as git does for https.
func credentials(file, host string) (user, password string, ok bool) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err != nil {
		return "", "", false
	}
	words := strings.Fields(string(data))
	for i, here := 0, false; i < len(words); i++ {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		switch words[i] {
		case "machine", "default":
			if here {
				return user, password, true
			}
			if here = words[i] == "default" || value == host; words[i] == "default" {
				continue
			}
		case "login":
			if here {
				user, ok = value, true
			}
		case "password":
			if here {
				password, ok = value, true
			}
		case "account", "macdef":
		default:
			continue
		}
		i++
	}
	return user, password, ok
}
