package command

import (
	"errors"
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// PrintError writes each error of a join on its own line, with the name of the command and the object.
func TestEachErrorIsALine(t *testing.T) {
	a, b := errors.New("a"), WithHint(errors.New("b"), "mend it")
	joined := errors.Join(a, b)
	for _, tt := range []struct {
		err   error
		want  []string
		hints []string
	}{
		{a, []string{"a"}, []string{""}},
		{joined, []string{"a", "b"}, []string{"", "mend it"}},
		{errors.Join(b), []string{"b"}, []string{"mend it"}},
		{fmt.Errorf("tail x: %w", joined), []string{"tail x: a", "tail x: b"}, []string{"", "mend it"}},
		{fmt.Errorf("tail x: %w", fmt.Errorf("read: %w", joined)), []string{"tail x: read: a", "tail x: read: b"}, []string{"", "mend it"}},
		{WithHint(errors.Join(a, a), "for both"), []string{"a", "a"}, []string{"", "for both"}},
		{WithHint(errors.Join(a), "for one"), []string{"a"}, []string{"for one"}},
		{fmt.Errorf("%w: %w", a, b), []string{"a: b"}, []string{"mend it"}},
		{errors.Join(a, joined), []string{"a", "a", "b"}, []string{"", "", "mend it"}},
		{errors.Join(a, errors.New("of\ntwo lines")), []string{"a", "of\ntwo lines"}, []string{"", ""}},
		{fmt.Errorf("(%w)", joined), []string{"(a\nb)"}, []string{"mend it"}},
	} {
		var got, hints []string
		for _, err := range split(tt.err) {
			got, hints = append(got, err.Error()), append(hints, hintFor(err))
		}
		if diff := gocmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%v: -want +got:\n%s", tt.err, diff)
		}
		if diff := gocmp.Diff(tt.hints, hints); diff != "" {
			t.Errorf("%v: hints, -want +got:\n%s", tt.err, diff)
		}
	}
}
