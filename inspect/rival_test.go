package inspect

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestRival(t *testing.T) {
	for role, typ := range map[string]ebpf.MapType{"consume": ebpf.RingBuf, "produce": ebpf.UserRingbuf} {
		t.Run(role, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Map(t, &ebpf.MapSpec{Name: "test_rival", Type: typ, MaxEntries: testenv.PageSize})
			check := func(pid int) {
				t.Helper()
				u, err := Rival(m)
				if err != nil || pid == 0 && u != nil || pid != 0 && (u == nil || u.PID != pid) {
					t.Errorf("found %+v, %v; want process %d", u, err, pid)
				}
			}
			check(0)
			start(t, "hold", m)
			start(t, "observe", m)
			check(0)
			a := start(t, role, m)
			check(a.pid)
			a.end()
			check(0)
		})
	}
}

// A rival is found by two searches in succession. A process that finds a ring taken has it mapped only for a moment.
func TestARivalIsThereTwice(t *testing.T) {
	for _, tt := range []struct {
		found [2][]int
		want  int // -1: none
	}{
		{[2][]int{}, -1},
		{[2][]int{{7}, {}}, -1},
		{[2][]int{{7}, {8}}, -1},
		{[2][]int{{7}, {7}}, 7},
		{[2][]int{{6, 7}, {7, 8}}, 7},
		{[2][]int{{0}, {0}}, 0},
	} {
		calls := 0
		all, err := steady(func() ([]rivals, error) {
			free, found := rivals{}, rivals{}
			for _, pid := range tt.found[calls] {
				found.users = append(found.users, User{PID: pid})
			}
			calls++
			return []rivals{free, found}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if u := all[1].User; (u == nil) != (tt.want < 0) || u != nil && u.PID != tt.want {
			t.Errorf("of %v: %+v; want %d", tt.found, u, tt.want)
		}
		if all[0] != (Rivalry{}) {
			t.Errorf("of another map: %+v", all[0])
		}
	}
}

func TestAnUnseenRivalHasItsReason(t *testing.T) {
	reason := errors.New("3 processes could not be read")
	all, err := steady(func() ([]rivals, error) { return []rivals{{}, {unknown: unseenError{reason}}}, nil })
	if err != nil {
		t.Fatal(err)
	}
	err = all[1].Unknown
	if !errors.Is(err, ErrUnseen) || !errors.Is(err, reason) || err.Error() != reason.Error() || all[0] != (Rivalry{}) {
		t.Errorf("%+v", all)
	}
}
