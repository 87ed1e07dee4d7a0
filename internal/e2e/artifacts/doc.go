// Package artifacts tests, on a whole farm, that files which tests leave go to other tests and to people.
//
// It holds no code of its own.
package artifacts
