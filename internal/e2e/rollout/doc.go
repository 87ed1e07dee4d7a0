// Package rollout tests canaries on two clusters with a real node each: real pods, real HTTP requests, a real Prometheus that
// scrapes the pods through the API servers, and a candidate that really answers with errors.
package rollout
