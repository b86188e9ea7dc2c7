package conform

import (
	"strings"
	"testing"
)

func TestMarkdown(t *testing.T) {
	entry := func(v Verdict) []Entry {
		return []Entry{{Group: RingBuf, Name: "a", Statement: "A | b.", Source: "s", Verdict: v, Detail: "why"}}
	}
	reports := []Report{
		{Kernel: "6.12.1", Rules: entry(Yes)}, {Kernel: "6.1.2-amd64", Rules: entry(No)},
		{Kernel: "5.10.0", Rules: entry(NotSupported)}, {Kernel: "7.3.4", Rules: entry(Yes)},
	}
	var b strings.Builder
	if err := Markdown(&b, reports); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| rule | 5.10 | 6.1 | 6.12 | 7.3 | from |",
		`| **a** A \| b.<br>s | - | no | yes | yes | 6.12 |`,
		"- 6.1, ringbuf/a (no): why",
		"| 6.1 | 6.1.2-amd64  | 1 rules: 0 yes, 1 no, 0 not supported, 0 differs |",
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("not on the page: %s\n%s", want, b.String())
		}
	}
	reports[3].Rules[0].Verdict = Differs
	b.Reset()
	if err := Markdown(&b, reports); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "| differs | never |") {
		t.Errorf("a kernel that differs again is not seen:\n%s", b.String())
	}
}
