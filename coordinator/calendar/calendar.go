// Package calendar says when a rollout may begin: windows that allow it at hours of weekdays, and freezes. It is pure, and asks
// for no time; zones are those of the program's own database.
package calendar

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a machine may have none

	"github.com/slipway-build/slipway/coordinator/plan"
)

// horizon is how far into the future Next looks.
const horizon = 800 * 24 * time.Hour

// Next is the first moment from a time on at which all of the windows let a rollout begin, and the names of those that
// keep it from beginning at that time; none: it may begin now. The zero time: not within two years.
//
// Windows with hours are alternatives of each other: one of them must be open. No freeze may be.
func Next(windows []plan.Window, at time.Time) (next time.Time, closed []string) {
	closed = shut(windows, at)
	for next = at; next.Sub(at) < horizon; {
		step := after(windows, next)
		if step.Equal(next) {
			return next, closed
		}
		next = step
	}
	return time.Time{}, closed
}

// shut are the windows that keep a rollout from beginning.
func shut(windows []plan.Window, at time.Time) []string {
	var out, hours []string
	open := false
	for _, w := range windows {
		if w.Freeze != nil {
			if from, to := span(w); !at.Before(from) && at.Before(to) {
				out = append(out, w.Name)
			}
			continue
		}
		hours = append(hours, w.Name)
		open = open || opens(w, at).Equal(at)
	}
	if !open {
		out = append(out, hours...)
	}
	return out
}

// after is the time itself if nothing is shut then, or a later one before which something is.
func after(windows []plan.Window, at time.Time) time.Time {
	var first time.Time
	hours := false
	for _, w := range windows {
		if w.Freeze != nil {
			if from, to := span(w); !at.Before(from) && at.Before(to) {
				return to
			}
			continue
		}
		hours = true
		if t := opens(w, at); !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if !hours {
		return at
	}
	if first.IsZero() {
		return at.Add(horizon)
	}
	return first
}

// opens is when a window with hours is open next: the time itself if it is then.
func opens(w plan.Window, at time.Time) time.Time {
	zone := location(w.Zone)
	day := at.In(zone)
	var first time.Time
	for ahead := range 9 { // a week, and the days at its ends
		y, m, d := day.Date()
		weekday := int(time.Date(y, m, d+ahead, 12, 0, 0, 0, zone).Weekday())
		for _, h := range w.Hours {
			if !slices.Contains(h.Days, weekday) {
				continue
			}
			from := time.Date(y, m, d+ahead, 0, h.From, 0, 0, zone)
			to := time.Date(y, m, d+ahead, 0, h.To, 0, 0, zone)
			if !at.Before(to) || !from.Before(to) {
				continue
			}
			if from.Before(at) {
				from = at
			}
			if first.IsZero() || from.Before(first) {
				first = from
			}
		}
	}
	return first
}

func span(w plan.Window) (from, to time.Time) {
	zone := location(w.Zone)
	from, _ = time.ParseInLocation(minute, w.Freeze.From, zone)
	to, _ = time.ParseInLocation(minute, w.Freeze.To, zone)
	return from, to
}

func location(name string) *time.Location {
	zone, err := time.LoadLocation(name)
	if err != nil { // it was checked when the file was read
		return time.UTC
	}
	return zone
}

// minute is how a plan writes the ends of a freeze.
const minute = "2006-01-02 15:04"

var weekdays = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"} //nolint:gochecknoglobals // of the calendar

// ParseHours reads "Mon-Thu 09:00-16:00, Fri 09:00-12:00": days of a week and hours of each.
func ParseHours(text string) ([]plan.Hours, error) {
	form := regexp.MustCompile(`^([A-Z][a-z]{2})(?:-([A-Z][a-z]{2}))? (\d\d):(\d\d)-(\d\d):(\d\d)$`)
	var out []plan.Hours
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		m := form.FindStringSubmatch(part)
		if m == nil {
			return nil, fmt.Errorf("%q is not of the form Mon-Thu 09:00-16:00", part)
		}
		first, last := slices.Index(weekdays, m[1]), slices.Index(weekdays, m[2])
		if m[2] == "" {
			last = first
		}
		if first < 0 || last < 0 {
			return nil, fmt.Errorf("%q has a day that is none of %s", part, strings.Join(weekdays, ", "))
		}
		h := plan.Hours{From: clock(m[3], m[4]), To: clock(m[5], m[6])}
		if h.From < 0 || h.To < 0 || h.From >= h.To {
			return nil, fmt.Errorf("%q does not end after it begins, between 00:00 and 24:00", part)
		}
		for d := first; ; d = (d + 1) % len(weekdays) {
			h.Days = append(h.Days, d)
			if d == last {
				break
			}
		}
		slices.Sort(h.Days)
		out = append(out, h)
	}
	return out, nil
}

// clock is minutes of a day; -1: there is no such time.
func clock(hours, minutes string) int {
	h, _ := strconv.Atoi(hours)
	m, _ := strconv.Atoi(minutes)
	if m > 59 || h*60+m > 24*60 {
		return -1
	}
	return h*60 + m
}

// ParseFreeze reads "2026-12-18 18:00 to 2027-01-04", whose times are midnights where none are given.
func ParseFreeze(text string) (*plan.Freeze, error) {
	from, to, ok := strings.Cut(text, " to ")
	if !ok {
		return nil, fmt.Errorf("%q is not of the form 2026-12-18 18:00 to 2027-01-04", text)
	}
	var at [2]time.Time
	for i, s := range []string{strings.TrimSpace(from), strings.TrimSpace(to)} {
		t, err := time.Parse(minute, s)
		if err != nil {
			t, err = time.Parse(time.DateOnly, s)
		}
		if err != nil {
			return nil, fmt.Errorf("%q is no day, as 2026-12-18, or day and time, as 2026-12-18 18:00", s)
		}
		at[i] = t
	}
	if !at[0].Before(at[1]) {
		return nil, fmt.Errorf("%q does not end after it begins", text)
	}
	return &plan.Freeze{From: at[0].Format(minute), To: at[1].Format(minute)}, nil
}

// Zone says whether there is a time zone of that name.
func Zone(name string) bool {
	_, err := time.LoadLocation(name)
	return err == nil && name != "" && name != "Local"
}
