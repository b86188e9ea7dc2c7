package enumname

import (
	"slices"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		rule               string
		enumerators, names []string
		want               []int
	}{
		{"the same names", []string{"OPEN", "close"}, []string{"close", "open"}, []int{1, 0}},
		{"words that all enumerators have", []string{"EVENT_EXEC", "EVENT_EXIT", "EVENT_MAX"}, []string{"exec", "exit"}, []int{0, 1}},
		{"words that all names have", []string{"EXEC", "EXIT"}, []string{"exec_event", "exit_event"}, []int{0, 1}},
		{"words that both have", []string{"K_EXEC", "K_EXIT"}, []string{"exec_event", "exit_event"}, []int{0, 1}},
		{"words at an end", []string{"EXEC_EVENT", "A_EXIT", "LAST"}, []string{"exec", "exit"}, []int{0, 1}},
		{"the same words before others", []string{"OPEN", "FILE_OPEN"}, []string{"open"}, []int{0}},
		{"no enumerator", []string{"OPEN", "CLOSE"}, []string{"open", "end"}, []int{0, -1}},
		{"two enumerators for a name", []string{"TCP_OPEN", "UDP_OPEN", "X"}, []string{"open"}, []int{-1}},
		{"two names for an enumerator", []string{"NONE", "FILE_OPEN"}, []string{"file", "open", "none"}, []int{-1, -1, 0}},
		{"no words", []string{"_", ""}, []string{"", "_"}, []int{-1, -1}},
		{"nothing", nil, nil, nil},
		{"too many", make([]string, maxNames+1), []string{"a"}, []int{-1}},
	} {
		if got := Match(test.enumerators, test.names); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.rule, got, test.want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("EVENT_EXEC", "EVENT_EXIT", "exec", "exit")
	f.Add("_", "", "a__b", "A_B")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		for _, i := range Match([]string{a, b}, []string{c, d}) {
			if i < -1 || i > 1 {
				t.Errorf("index %d", i)
			}
		}
	})
}
