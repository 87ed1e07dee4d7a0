// Package peer is how the coordinators of a farm reach each other: who answers for a
// partition now, a connection to that one, and the calls with which one that makes a plan
// asks the owner of its project. A call goes on by one hop, and is tried again while an
// owner is being replaced.
//
// Who owns what is decided elsewhere (package ownership); what calls of the API mean, too
// (package api).
package peer
