package command

import (
	"strings"
	"testing"
	"time"

	"github.com/rbtool/rbtool/drops"
)

func TestAdvice(t *testing.T) {
	enlarge := drops.Sizing{
		Verdict: drops.Enlarge, Size: 256 << 10, Suggested: 1 << 20, Extra: 612 << 10, Need: 868 << 10,
		Pause: 310 * time.Millisecond, PauseBytes: 840 << 10, Elapsed: time.Second,
	}
	slow := drops.Sizing{Verdict: drops.TooSlow, WriteRate: 12.34 * (1 << 20), ConsumeRate: 4 << 20, Elapsed: time.Second}
	fits := drops.Sizing{Verdict: drops.Fits, Size: 4096}
	for _, tt := range []struct {
		rule    string
		advice  drops.Advice
		counted *drops.Ring
		want    []string // topic and text of each sentence
	}{
		{"a size with its arithmetic", drops.Advice{Sizing: enlarge}, &drops.Ring{},
			[]string{"size: 1MiB would have held it: 256KiB waited and 612KiB more was refused before the consumer caught up, 868KiB in all; " +
				"the consumer paused for up to 310ms, in which programs wrote 840KiB"}},
		{"a slow consumer with both rates", drops.Advice{Sizing: slow}, &drops.Ring{},
			[]string{"size: no size helps: programs write 12.34MiB/s, and the consumer takes 4MiB/s while records wait"}},
		{"of a ring that fits, only if losses were counted", drops.Advice{Sizing: fits}, nil, nil},
		{"", drops.Advice{Sizing: drops.Sizing{Verdict: drops.Fits, Size: 4096, Backlog: 2048, Written: 9000}}, &drops.Ring{},
			[]string{"size: 4KiB is enough: at most 2KiB waited"}},
		{"tails and discards", drops.Advice{
			Sizing: drops.Sizing{Verdict: drops.Fits},
			Tails:  []drops.Tail{{Len: 2048, Records: 100, Unused: 188000, Least: 1880}},
			Seen:   205600, Records: 100, Discarded: 100, Skipped: 205600,
		}, nil, []string{
			"records: records of 2,048 bytes end in 1,880 zero bytes: with records of variable size (bpf_ringbuf_output, bpf_ringbuf_reserve_dynptr) " +
				"the ring would hold 12 times as many",
			"discards: 50.0% of the records, 50.0% of the bytes, are discarded after they were reserved: decide before bpf_ringbuf_reserve",
		}},
		{"tails that are left over", drops.Advice{
			Sizing: drops.Sizing{Verdict: drops.Fits},
			Tails:  []drops.Tail{{Len: 100, Records: 100, Unused: 6000, Least: 50, Stale: 80}}, Seen: 11200, Records: 100,
		}, nil, []string{"records: records of 100 bytes end in about 60 bytes that nobody writes: with records of variable size " +
			"(bpf_ringbuf_output, bpf_ringbuf_reserve_dynptr) the ring would hold 2.33 times as many"}},
		{"no tails of a few records among many",
			drops.Advice{Sizing: fits, Tails: []drops.Tail{{Len: 2048, Records: 1, Unused: 2000}}, Seen: 1 << 20, Records: 100}, nil, nil},
		{"nor of few records at all", drops.Advice{
			Sizing: drops.Sizing{Verdict: drops.Fits},
			Tails:  []drops.Tail{{Len: 2048, Records: 5, Unused: 5 * 2000}}, Seen: 5 * 2056, Records: 5, Discarded: 5, Skipped: 5 * 2056,
		}, nil, nil},
		{"wakeups", drops.Advice{Sizing: drops.Sizing{Verdict: drops.Fits, Elapsed: 2 * time.Second}, Records: 20000, Sleeps: 18000}, nil,
			[]string{"wakeups: the consumer sleeps 9,000 times a second for 10,000 records: BPF_RB_NO_WAKEUP on most records, and " +
				"BPF_RB_FORCE_WAKEUP when enough wait (bpf_ringbuf_query), save wakeups"}},
		{"contention", drops.Advice{Sizing: slow}, &drops.Ring{Calls: 1000, Contended: 120}, []string{
			"size: no size helps: programs write 12.34MiB/s, and the consumer takes 4MiB/s while records wait",
			"contention: 12.0% of the reservations met another CPU in the ring: a ring for each CPU (an ARRAY_OF_MAPS) ends that",
		}},
	} {
		var got []string
		for _, a := range Advise(&tt.advice, tt.counted) {
			got = append(got, a.Topic+": "+a.Text)
		}
		if g, w := strings.Join(got, "\n"), strings.Join(tt.want, "\n"); g != w {
			t.Errorf("%s:\n%s\nwant\n%s", tt.rule, g, w)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[float64]string{0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 868 << 10: "868KiB", 1 << 20: "1MiB", 1000 << 10: "1000KiB", 3e18: "2.602EiB"} {
		if got := RoughSize(n); got != want {
			t.Errorf("%v: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", 1<<64 - 1: "18,446,744,073,709,551,615"} {
		if got := Grouped(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for _, tt := range []struct {
		part, all uint64
		want      string
	}{{0, 0, "-"}, {0, 10, "0.0%"}, {1, 1e6, "<0.1%"}, {21, 100, "21.0%"}, {1e6 - 1, 1e6, ">99.9%"}, {5, 5, "100.0%"}} {
		if got := Percent(tt.part, tt.all); got != tt.want {
			t.Errorf("%d of %d: %s, want %s", tt.part, tt.all, got, tt.want)
		}
	}
}

func TestAdviceOnAFullRingWhoseLossesAreNotCounted(t *testing.T) {
	full := drops.Sizing{Verdict: drops.Fits, Size: 4096, Backlog: 4000, Elapsed: time.Second}
	consumed := full
	consumed.Consumed = 8
	for want, sizing := range map[string]drops.Sizing{
		"no size helps: nothing was consumed in 1s":                             full,
		"at least 8KiB: the ring was full, and how much was refused is unknown": consumed,
	} {
		if got := Advise(&drops.Advice{Sizing: sizing}, nil); len(got) != 1 || got[0] != (Advice{"size", want}) {
			t.Errorf("%+v, want %s", got, want)
		}
	}
}
