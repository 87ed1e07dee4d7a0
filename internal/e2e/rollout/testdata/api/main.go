// Api answers, and says how often it did; every so manieth answer is an error.
package main

import (
	"fmt"
	"net/http"
	"sync/atomic"
)

// failEvery is how often an answer is an error: 0 never does.
var failEvery int64 = 0

const version = "v1"

func main() {
	var good, bad atomic.Int64
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	http.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "# TYPE http_requests_total counter\nhttp_requests_total{code=\"200\"} %d\nhttp_requests_total{code=\"500\"} %d\n", good.Load(), bad.Load())
	})
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		if failEvery > 0 && (good.Load()+bad.Load())%failEvery == failEvery-1 {
			bad.Add(1)
			http.Error(w, "as it was told to", http.StatusInternalServerError)
			return
		}
		good.Add(1)
		fmt.Fprintln(w, version)
	})
	if err := http.ListenAndServe(":8080", nil); err != nil {
		panic(err)
	}
}
