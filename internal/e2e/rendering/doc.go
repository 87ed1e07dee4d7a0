// Package rendering runs Helm's and Kustomize's own commands beside Slipway's rendering, over the charts and kustomizations
// that these projects test themselves with and those of examples/shop. docs/rendering.md has what differs, and why. Policies are tried on a whole farm.
package rendering
