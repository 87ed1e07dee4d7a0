// Package flag moves a feature flag from one variant to another, a part of all evaluations at a time, in a flag file of flagd
// (https://flagd.dev/reference/flag-definitions/) that a ConfigMap holds:
//
//	live file ──▶ variant for all before ─┐
//	next file ──▶ variant for all then ───┴─▶ Blend: next file with { fractional: [[then, 10], [before, 90]] }
//
// It is pure: who reads and writes ConfigMaps is elsewhere.
package flag
