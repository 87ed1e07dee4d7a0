// Package analysis measures a candidate while it has a part of the pods, and says whether it may have more.
//
// A Judge decides about one metric from its measurements, and knows no clock. Run asks the providers at the intervals of a
// pause, gives Judges what they answer, and ends as soon as one says no. How a provider is asked is that of package provider.
//
//	      good
//	   ┌───────┐
//	   ▼       │   failures bad ones in a row ──────────────▶ Failed
//	 GoesOn ───┤   more than tolerated that say nothing ────▶ Inconclusive
//	   ▲       │   the end: a good one ─────────────────────▶ Passed
//	   └───────┘            bad ones alone ─────────────────▶ Failed
//	bad, unknown            nothing of either ──────────────▶ Inconclusive
package analysis
