package calendar_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/coordinator/calendar"
	"github.com/slipway-build/slipway/coordinator/plan"
)

func hours(t interface{ Fatal(...any) }, name, zone, text string) plan.Window {
	h, err := calendar.ParseHours(text)
	if err != nil {
		t.Fatal(err)
	}
	return plan.Window{Name: name, Zone: zone, Hours: h}
}

func freeze(t *testing.T, name, zone, text string) plan.Window {
	t.Helper()
	f, err := calendar.ParseFreeze(text)
	if err != nil {
		t.Fatal(err)
	}
	return plan.Window{Name: name, Zone: zone, Freeze: f}
}

func TestNext(t *testing.T) {
	office := hours(t, "office", "Europe/Brussels", "Mon-Thu 09:00-16:00, Fri 09:00-12:00")
	night := hours(t, "night", "UTC", "Sat-Sun 00:00-24:00")
	clocks := hours(t, "clocks", "Europe/Brussels", "Sun 02:30-03:30")
	for name, c := range map[string]struct {
		windows  []plan.Window
		at, next string
		closed   string
	}{
		"none":                      {nil, "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", ""},
		"open":                      {[]plan.Window{office}, "2026-12-01T08:00:00Z", "2026-12-01T08:00:00Z", ""},
		"before":                    {[]plan.Window{office}, "2026-12-01T07:59:59Z", "2026-12-01T08:00:00Z", "office"},
		"its last moment":           {[]plan.Window{office}, "2026-12-01T14:59:59Z", "2026-12-01T14:59:59Z", ""},
		"its end":                   {[]plan.Window{office}, "2026-12-01T15:00:00Z", "2026-12-02T08:00:00Z", "office"},
		"Friday evening":            {[]plan.Window{office}, "2026-12-04T17:00:00Z", "2026-12-07T08:00:00Z", "office"},
		"summer time":               {[]plan.Window{office}, "2026-07-01T06:00:00Z", "2026-07-01T07:00:00Z", "office"},
		"one of two":                {[]plan.Window{office, night}, "2026-12-05T12:00:00Z", "2026-12-05T12:00:00Z", ""},
		"the sooner of two":         {[]plan.Window{office, night}, "2026-12-04T17:00:00Z", "2026-12-05T00:00:00Z", "office night"},
		"what the clocks leave out": {[]plan.Window{clocks}, "2026-03-29T00:00:00Z", "2026-04-05T00:30:00Z", "clocks"},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, c.windows, c.at, c.next, c.closed)
		})
	}
	t.Run("a freeze", func(t *testing.T) {
		windows := []plan.Window{office, freeze(t, "year-end", "Europe/Brussels", "2026-12-18 12:00 to 2027-01-04")}
		check(t, windows, "2026-12-18T10:59:59Z", "2026-12-18T10:59:59Z", "")
		check(t, windows, "2026-12-18T11:00:00Z", "2027-01-04T08:00:00Z", "year-end office")
		check(t, windows, "2026-12-21T09:00:00Z", "2027-01-04T08:00:00Z", "year-end")
	})
	t.Run("never", func(t *testing.T) {
		forever := freeze(t, "forever", "UTC", "2026-01-01 to 2099-01-01")
		if next, closed := calendar.Next([]plan.Window{forever}, time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)); !next.IsZero() || len(closed) != 1 {
			t.Errorf("it opens at %s, closed: %v", next, closed)
		}
	})
}

func check(t *testing.T, windows []plan.Window, at, want, closed string) {
	t.Helper()
	from, err := time.Parse(time.RFC3339, at)
	if err != nil {
		t.Fatal(err)
	}
	next, names := calendar.Next(windows, from)
	if got := next.UTC().Format(time.RFC3339); got != want || strings.Join(names, " ") != closed {
		t.Errorf("at %s: it opens at %s, closed: %v; want %s, %s", at, got, names, want, closed)
	}
}

// TestNextIsOpen: at the moment that it names nothing is closed, and before it something is, wherever one looks.
func TestNextIsOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{"UTC", "Europe/Brussels", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"}).Draw(t, "zone")
		text := rapid.SampledFrom([]string{"Mon 00:00-24:00", "Sat-Tue 22:15-23:45", "Mon-Thu 09:00-16:00, Fri 09:00-12:00", "Sun 02:00-03:00"}).Draw(t, "hours")
		windows := []plan.Window{hours(t, "w", zone, text)}
		if rapid.Bool().Draw(t, "frozen") {
			f, err := calendar.ParseFreeze("2026-03-01 to 2026-04-15 13:00")
			if err != nil {
				t.Fatal(err)
			}
			windows = append(windows, plan.Window{Name: "f", Zone: zone, Freeze: f})
		}
		at := time.Date(2026, 1, 1, 0, 0, rapid.IntRange(0, 300*24*3600).Draw(t, "at"), 0, time.UTC)
		next, closed := calendar.Next(windows, at)
		if next.IsZero() || next.Before(at) || next.Equal(at) != (len(closed) == 0) {
			t.Fatalf("at %s: it opens at %s, closed: %v", at, next, closed)
		}
		if _, again := calendar.Next(windows, next); len(again) > 0 {
			t.Fatalf("at %s it is open, and %v are closed then", next, again)
		}
		if !next.Equal(at) {
			between := at.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(at))-1).Draw(t, "between")))
			if n, closed := calendar.Next(windows, between); len(closed) == 0 || !n.Equal(next) {
				t.Fatalf("at %s nothing is closed, or it opens at %s and not at %s", between, n, next)
			}
		}
	})
}

func TestWhatIsNoWindow(t *testing.T) {
	for _, text := range []string{"", "Mon", "Mo 09:00-16:00", "Abc 09:00-16:00", "Mon 16:00-09:00", "Mon 09:00-09:00", "Mon 09:60-10:00", "Mon 09:00-24:01", "Mon 9:00-16:00", "Mon-Fri 09:00-16:00,"} {
		if h, err := calendar.ParseHours(text); err == nil {
			t.Errorf("%q is %v", text, h)
		}
	}
	for _, text := range []string{"", "2026-12-18", "2026-12-18 to", "2026-12-18 to 2026-12-18", "2026-13-18 to 2027-01-01", "2026-12-18 25:00 to 2027-01-01"} {
		if f, err := calendar.ParseFreeze(text); err == nil {
			t.Errorf("%q is %v", text, f)
		}
	}
	if calendar.Zone("Europe/Atlantis") || calendar.Zone("") || calendar.Zone("Local") || !calendar.Zone("Europe/Brussels") {
		t.Error("a zone is taken for what it is not")
	}
}
