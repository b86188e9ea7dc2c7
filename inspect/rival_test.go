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
			m := testenv.Map(t, &ebpf.MapSpec{Name: "test_rival", Type: typ, MaxEntries: 4096})
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
		u, err := steady(func() (users []User, err error) {
			for _, pid := range tt.found[calls] {
				users = append(users, User{PID: pid})
			}
			calls++
			return users, nil
		})
		if err != nil || (u == nil) != (tt.want < 0) || u != nil && u.PID != tt.want {
			t.Errorf("of %v: %+v, %v; want %d", tt.found, u, err, tt.want)
		}
	}
}

func TestAnUnseenRivalHasItsReason(t *testing.T) {
	reason := errors.New("3 processes could not be read")
	_, err := steady(func() ([]User, error) { return nil, unseenError{reason} })
	if !errors.Is(err, ErrUnseen) || !errors.Is(err, reason) || err.Error() != reason.Error() {
		t.Errorf("error %v", err)
	}
}
