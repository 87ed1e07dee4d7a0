// Command hello is the service that the test of a real node rolls out. It says what it can see of the cluster.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	client := &http.Client{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello from", os.Getenv("HOSTNAME"))
	})
	// Asks another Service by its name, as a real service would.
	mux.HandleFunc("GET /ask/{host}", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.PathValue("host")+"/", http.NoBody)
		if err == nil {
			var res *http.Response
			if res, err = client.Do(req); err == nil {
				defer res.Body.Close()
				fmt.Fprintln(w, "answered", res.StatusCode)
				return
			}
		}
		http.Error(w, err.Error(), http.StatusBadGateway)
	})
	// Tries to leave the machine.
	mux.HandleFunc("GET /out", func(w http.ResponseWriter, r *http.Request) {
		_, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(r.Context(), "tcp", "192.0.2.1:80")
		fmt.Fprintln(w, err)
	})
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	fmt.Println("hello listens on :8080")
	if err := server.ListenAndServe(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
