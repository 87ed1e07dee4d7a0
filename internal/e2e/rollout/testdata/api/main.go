// Api answers, and says how often it did; every so manieth answer is an error.
package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync/atomic"
)

// failEvery is how often an answer is an error: 0 never does.
var failEvery int64 = 0

const version = "v1"

// failing is how many percent of the answers the flag makes errors: all or none for its variant, or the share of "on".
func failing() int {
	var file struct {
		Flags struct {
			Failing struct {
				DefaultVariant string
				Targeting      struct{ Fractional [][]any }
			}
		}
	}
	text, err := os.ReadFile("/flags/flags.json")
	if err == nil {
		err = json.Unmarshal(text, &file)
	}
	if err != nil {
		return 0
	}
	for _, share := range file.Flags.Failing.Targeting.Fractional {
		if share[0] == "on" {
			return int(share[1].(float64))
		}
	}
	if file.Flags.Failing.DefaultVariant == "on" {
		return 100
	}
	return 0
}

func main() {
	var good, bad atomic.Int64
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	http.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "# TYPE http_requests_total counter\nhttp_requests_total{code=\"200\"} %d\nhttp_requests_total{code=\"500\"} %d\n", good.Load(), bad.Load())
	})
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		if rand.IntN(100) < failing() {
			bad.Add(1)
			http.Error(w, "as its flag says", http.StatusInternalServerError)
			return
		}
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
