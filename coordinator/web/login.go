package web

import (
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const (
	cookieName = "slipway_session"
	// sessionLife is how long a browser stays signed in.
	sessionLife = 12 * time.Hour
	// maxSessions bounds the memory; the oldest goes first.
	maxSessions = 1024
	maxForm     = 4 << 10
)

// sessions are the browsers that are signed in. They are in memory alone: after a restart
// the token is asked for again.
type sessions struct {
	now func() time.Time
	mu  sync.Mutex
	all map[string]signed
}

type signed struct {
	secret string // the token: it is asked for each request whether it is still good
	until  time.Time
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, all: map[string]signed{}}
}

func (s *sessions) begin(secret string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := ""
	for id, in := range s.all {
		if s.now().After(in.until) {
			delete(s.all, id)
		} else if oldest == "" || in.until.Before(s.all[oldest].until) {
			oldest = id
		}
	}
	if len(s.all) >= maxSessions {
		delete(s.all, oldest)
	}
	id := rand.Text() + rand.Text()
	s.all[id] = signed{secret, s.now().Add(sessionLife)}
	return id
}

func (s *sessions) secret(id string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, ok := s.all[id]
	return in.secret, ok && s.now().Before(in.until)
}

func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, id)
}

// signedIn lets a browser through that has signed in with a token that may look.
func (w *Web) signedIn(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie(cookieName); err == nil {
			if secret, ok := w.sessions.secret(c.Value); ok {
				if who, ok := w.cfg.Tokens.Identify(secret); ok && rpc.Includes(who.Role, pb.Role_ROLE_VIEW) {
					next(out, r.WithContext(rpc.WithIdentity(r.Context(), who)))
					return
				}
			}
		}
		if r.Header.Get("Accept") == "text/event-stream" {
			http.Error(out, "sign in again", http.StatusUnauthorized)
			return
		}
		http.Redirect(out, r, "/login", http.StatusSeeOther)
	})
}

type loginForm struct{ Refused string }

func (w *Web) loginPage(out http.ResponseWriter, r *http.Request) {
	w.render(out, r, http.StatusOK, "login.html", page{Title: "Sign in", Body: loginForm{}})
}

func (w *Web) login(out http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(out, r.Body, maxForm)
	refuse := func(code int, why string) {
		w.render(out, r, code, "login.html", page{Title: "Sign in", Body: loginForm{why}})
	}
	if err := r.ParseForm(); err != nil {
		refuse(http.StatusBadRequest, "The form could not be read.")
		return
	}
	secret := r.PostForm.Get("token")
	who, ok := w.cfg.Tokens.Identify(secret)
	switch {
	case !ok:
		refuse(http.StatusUnauthorized, "This token is not known here.")
		return
	case !rpc.Includes(who.Role, pb.Role_ROLE_VIEW):
		refuse(http.StatusForbidden, "This token has the role "+rpc.RoleName(who.Role)+"; the dashboard needs view.")
		return
	}
	http.SetCookie(out, &http.Cookie{
		Name: cookieName, Value: w.sessions.begin(secret), Path: "/", HttpOnly: true, Secure: w.cfg.Secure,
		SameSite: http.SameSiteStrictMode, MaxAge: int(sessionLife / time.Second),
	})
	http.Redirect(out, r, "/", http.StatusSeeOther)
}

func (w *Web) logout(out http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		w.sessions.end(c.Value)
	}
	http.SetCookie(out, &http.Cookie{Name: cookieName, Path: "/", HttpOnly: true, Secure: w.cfg.Secure, SameSite: http.SameSiteStrictMode, MaxAge: -1})
	http.Redirect(out, r, "/login", http.StatusSeeOther)
}
