package kit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// maxBody is the largest request body that a service reads.
const maxBody = 1 << 20

// Error is a failure with the HTTP status that tells it.
type Error struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error.
func Errorf(status int, format string, args ...any) error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// Handler is a handler whose error becomes the answer: the status of an *Error, 500 for any other.
type Handler func(w http.ResponseWriter, r *http.Request) error

func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h(w, r)
	if err == nil {
		return
	}
	var known *Error
	if !errors.As(err, &known) {
		known = &Error{Status: http.StatusInternalServerError, Message: err.Error()}
	}
	WriteJSON(w, known.Status, known)
}

// WriteJSON answers with a value as JSON.
func WriteJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // The client may be gone.
}

// ReadJSON reads a request's body; what is wrong with it is the client's fault.
func ReadJSON(r *http.Request, value any) error {
	body := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	body.DisallowUnknownFields()
	if err := body.Decode(value); err != nil {
		return Errorf(http.StatusBadRequest, "read body: %v", err)
	}
	return nil
}
