// Package cosign signs images in a registry with a key, in the form that cosign verifies, attaches
// statements about them, and verifies both: cosign verify --key, cosign verify-attestation --key, and admission
// controllers that do the same find what it wrote.
//
// # What is written
//
// The form of cosign 1 and 2, which cosign 3 still reads: an image manifest under the tag
// sha256-<hex>.sig has a layer for each signature of a simple-signing payload, one under
// sha256-<hex>.att a layer for each DSSE envelope over an in-toto statement. What others have written
// there stays.
//
// cosign 3 writes bundles instead, as OCI referrers of the image. It looks at those alone where there
// is one that it can read, and at the tags where there is none. Therefore what is said here is written
// as bundles too where others have put bundles beside the image, and only there: the first bundle
// would hide the signatures of others under the tags.
//
// Verify reads both forms, and is satisfied by either.
//
// There is no transparency log and no certificate: who verifies says so, with
// --insecure-ignore-tlog=true. It knows nothing of who may have a key, and asks nothing but the
// registry.
package cosign
