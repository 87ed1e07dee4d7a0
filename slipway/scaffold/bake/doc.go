// Package bake reads the files in which Docker's bake says what it builds: targets, groups,
// variables, and what targets inherit from each other and are multiplied by. It answers
// targets as bake resolves them, each with the place where it is written, or every mistake
// with its position.
//
// It evaluates the language of these files itself, with the library that bake uses. It builds
// nothing, reads no file, and does not know services: what a target becomes is decided by scaffold.
// Functions that a file defines, and those whose result differs from call to call, it refuses.
package bake
