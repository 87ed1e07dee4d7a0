// Package gitcmd runs the git binary on repositories and with arguments that
// strangers may have written.
//
// Every command gets an environment made from nothing: no system or personal
// configuration, no hooks, no file system monitor, no prompts, no pagers, no replaced
// objects, literal pathspecs, and only the transports that the caller names. Every
// command has a time limit and is killed with its children when it is over.
//
// The package does not know what a mirror is, does not parse what git prints, and
// does not decide which addresses may be dialed: it only makes git obey that decision.
package gitcmd
