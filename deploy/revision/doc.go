// Package revision takes a candidate back: the stable release's manifests are applied again under a new fence, or, when there
// was none, what the candidate created is deleted. Namespaces and kept objects are never deleted.
//
// It acts only while the candidate is still the newest writer of the target; otherwise somebody has gone on, and undoing would
// undo their work. A repeat ends the same way and writes nothing more.
//
// It does not decide whether to roll back, and it does not wait for the result to become healthy.
package revision
