// Package canary is the deployer's side of a canary by pods: before a release is applied, copies of its Deployments stand beside
// those that serve, each with as many pods as its part asks for, and the Services send them their part of the requests.
//
//	Shift    candidate's manifests ──▶ Derive (pure) ──▶ apply.Apply ──▶ health.Wait ──▶ HTTP, of the candidate's pods alone
//	Analyze  health.Observe, HTTP and a Judge side by side, for as long as the pause lasts; the first that says no ends it
//
// What serves is read and never written. The copies have what their pods are configured with beside them, under names of their
// own. They are the candidate's like everything that apply.Apply wrote: pruned once the release as a whole works, deleted when it
// is taken back. Hooks, and every other kind of object, wait for the release as a whole.
//
// It does not decide how much a candidate is given, and it takes nothing back.
package canary
