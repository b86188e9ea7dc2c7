package model

import (
	"strings"
	"testing"
)

// Check fails the test if r is not as expected: if fails is empty, all rules must hold; otherwise
// the error must contain fails. Check logs the trace of an expected error. Test both: a model that
// cannot fail proves nothing.
func (r Result) Check(tb testing.TB, fails string) {
	tb.Helper()
	tb.Logf("%d states", r.States)
	trace := strings.Join(r.Trace, "\n")
	switch {
	case fails == "" && r.Err != nil:
		tb.Errorf("%v:\n%s", r.Err, trace)
	case fails != "" && (r.Err == nil || !strings.Contains(r.Err.Error(), fails)):
		tb.Errorf("found %v, want %q:\n%s", r.Err, fails, trace)
	case fails != "":
		tb.Logf("%v:\n%s", r.Err, trace)
	}
}
