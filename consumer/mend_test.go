package consumer_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// 100 records were produced and the first 60 are consumed. The ring still contains records 36 to
// 99.
func TestARingIsMendedWhereverItsConsumerPositionIs(t *testing.T) {
	behind := fmt.Sprintf("more than the ring's %d bytes behind", testenv.PageSize)
	for _, tt := range []struct {
		rule  string
		pos   uint64
		fault string // "" if the position is valid
		first uint64 // the record at which reading resumes
		lost  uint64 // bytes skipped
	}{
		{"where it belongs", 60 * slot, "", 60, 0},
		{"at a record", 90 * slot, "", 90, 0},
		{"below what is overwritten", 0, behind, 36, 36 * slot},
		{"a little below", 36*slot - 8, behind, 36, 8},
		{"at the oldest record", 36 * slot, "", 36, 0},
		{"ahead of the producer", 200 * slot, "ahead of the producer position", 36, 0},
		{"a little ahead", 100*slot + 8, "ahead of the producer position", 36, 0},
		{"far ahead", 1 << 63, "the producer position", 36, 0},
		{"between words", 60*slot + 4, "not a multiple of 8", 60, 0},
		{"in a record", 60*slot + 8, "no record begins", 60, 0},
		{"at the end of a record", 61*slot - 8, "no record begins", 60, 0},
		{"in the last record", 100*slot - 8, "no record begins", 99, 0},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, testenv.PageSize)
			p := load(t, m)
			slots(t, p, 0, 60)
			r := reader(t, m, consumer.Options{})
			seqs(t, r, 0)
			r.Close()
			slots(t, p, 60, 40)
			setConsumerPos(t, m, tt.pos)

			checkFault(t, consumer.Diagnose(m), tt.fault)
			opts := exclusive
			opts.Mend = true
			mended := reader(t, m, opts)
			found := stats(t, mended)
			checkFault(t, found.Mended, tt.fault)
			if found.Overwritten != tt.lost || tt.fault != "" && found.Resumed != tt.first*slot {
				t.Errorf("%+v, want %d bytes lost and position %d", found, tt.lost, tt.first*slot)
			}
			if diff := cmp.Diff(from(tt.first, 100-tt.first), seqs(t, mended, 0)); diff != "" {
				t.Errorf("after the repair (-want +got):\n%s", diff)
			}
			slots(t, p, 100, 63) // a full ring
			if got := seqs(t, mended, 0); len(got) != 63 {
				t.Errorf("%d of 63 records when the ring is full", len(got))
			}
		})
	}
}

// checkFault fails the test unless err is a fault that contains want, or nil if want is empty.
func checkFault(tb testing.TB, err error, want string) {
	tb.Helper()
	switch {
	case err == nil && want == "":
	case err == nil || want == "" || !strings.Contains(err.Error(), want) || !errors.Is(err, consumer.ErrCorrupt):
		tb.Errorf("found %v, want %q", err, want)
	}
}

func TestAClaimedRingIsNotMended(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	reader(t, m, exclusive)
	setConsumerPos(t, m, 8)
	opts := exclusive
	opts.Mend = true
	_, err := consumer.NewReader(m, opts)
	refused(t, err, os.Getpid())
	if err := consumer.Diagnose(m); !errors.Is(err, consumer.ErrCorrupt) {
		t.Errorf("diagnosis: %v, want a fault", err)
	}
}
