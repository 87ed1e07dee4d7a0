// Package canary tests that a secret is nowhere after it was used: a build and tests
// are given values that occur once in the world and print them in every form; then
// everything that the farm wrote, said and stored is searched for them. A leak that the
// test plants in each kind of place must be found by the same search.
//
// Its tests are behind the build tag e2e (make e2e).
package canary
