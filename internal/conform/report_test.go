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

// A series of which one machine does not keep the promise is not the first that keeps it.
func TestMarkdownOfSeveralMachines(t *testing.T) {
	report := func(kernel, machine string, page int, v Verdict) Report {
		return Report{Kernel: kernel, Machine: machine, PageSize: page, Rules: []Entry{{Group: RingBuf, Name: "a", Statement: "A.", Source: "s", Verdict: v}}}
	}
	reports := []Report{
		report("6.12.1", "aarch64", 4096, No), report("7.2.1", "aarch64", 16384, Yes), report("7.3.1", "x86_64", 4096, Yes),
		report("6.12.2", "x86_64", 4096, Yes),
	}
	var b strings.Builder
	if err := Markdown(&b, reports); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| rule | 6.12 | 7.3 | 6.12 arm64 | 7.2 arm64 16k | from |", "| **a** A.<br>s | yes | yes | no | yes | 7.2 |",
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("not on the page: %s\n%s", want, b.String())
		}
	}
}
