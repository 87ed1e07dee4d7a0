package kit_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"shop.example/libs/kit"
)

func TestURL(t *testing.T) {
	for _, test := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"cluster DNS", nil, "http://gift-cards"},
		{"service variables", map[string]string{"GIFT_CARDS_SERVICE_HOST": "10.96.0.7", "GIFT_CARDS_SERVICE_PORT": "8080"}, "http://10.96.0.7:8080"},
		{"service variables, IPv6", map[string]string{"GIFT_CARDS_SERVICE_HOST": "fd00::7"}, "http://[fd00::7]:80"},
		{"set by hand", map[string]string{"GIFT_CARDS_URL": "http://localhost:1/", "GIFT_CARDS_SERVICE_HOST": "10.96.0.7"}, "http://localhost:1"},
	} {
		if got := kit.URL(func(key string) string { return test.env[key] }, "gift-cards"); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestCall(t *testing.T) {
	server := httptest.NewServer(kit.Handler(func(w http.ResponseWriter, r *http.Request) error {
		var in struct{ Name string }
		if err := kit.ReadJSON(r, &in); err != nil {
			return err
		}
		if in.Name == "" {
			return kit.Errorf(http.StatusUnprocessableEntity, "no name")
		}
		kit.WriteJSON(w, http.StatusCreated, map[string]string{"hello": in.Name})
		return nil
	}))
	defer server.Close()
	client := kit.NewClient("greeter", server.URL)

	var out map[string]string
	if err := client.Call(t.Context(), http.MethodPost, "/", map[string]string{"name": "Ada"}, &out); err != nil || out["hello"] != "Ada" {
		t.Errorf("got %v, %v", out, err)
	}
	var failure *kit.Error
	err := client.Call(t.Context(), http.MethodPost, "/", map[string]string{"name": ""}, nil)
	if !errors.As(err, &failure) || failure.Status != http.StatusUnprocessableEntity || failure.Message != "greeter: no name" {
		t.Errorf("a refusal: %v", err)
	}
	err = client.Call(t.Context(), http.MethodPost, "/", map[string]string{"nickname": "Ada"}, nil)
	if !errors.As(err, &failure) || failure.Status != http.StatusBadRequest {
		t.Errorf("an unknown key: %v", err)
	}
	server.Close()
	err = client.Call(t.Context(), http.MethodPost, "/", nil, nil)
	if !errors.As(err, &failure) || failure.Status != http.StatusBadGateway {
		t.Errorf("a service that is gone: %v", err)
	}
}

func TestServeStopsInOrder(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	entered, done := make(chan struct{}), make(chan error, 1)
	slow := kit.Handler(func(w http.ResponseWriter, _ *http.Request) error {
		close(entered)
		<-ctx.Done()
		kit.WriteJSON(w, http.StatusOK, "finished")
		return nil
	})
	go func() { done <- kit.Serve(ctx, listener, slog.New(slog.DiscardHandler), slow) }()

	base := "http://" + listener.Addr().String()
	health, err := http.Get(base + "/healthz")
	if err != nil || health.StatusCode != http.StatusOK {
		t.Fatalf("health: %v, %v", health, err)
	}
	health.Body.Close()
	answer := make(chan string, 1)
	go func() {
		response, err := http.Get(base + "/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answer <- strings.TrimSpace(string(body))
	}()
	<-entered
	stop()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
	if got := <-answer; got != `"finished"` {
		t.Errorf("the request under way got %s", got)
	}
}
