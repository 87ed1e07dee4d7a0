// Package render turns answers of the coordinator into text for people: tables, the
// summary of a run, the waterfall of its trace, mistakes with their lines.
//
// It is pure: everything that decides about the text is an argument, the width and
// the colors of the terminal included. Text that came from elsewhere is cleaned of
// everything a terminal could take for a command.
package render
