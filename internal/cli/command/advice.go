package command

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/rbtool/rbtool/drops"
)

// Advice is a sentence about what would help a ring.
type Advice struct {
	Topic string `json:"topic"` // size, records, discards, wakeups, contention
	Text  string `json:"text"`
}

// Advise returns what the figures of a ring say. counted is what was counted of it, or nil.
func Advise(a *drops.Advice, counted *drops.Ring) []Advice {
	var all []Advice
	for _, one := range []Advice{
		{"size", adviseSize(&a.Sizing, counted != nil)},
		{"records", adviseTails(a)},
		{"discards", adviseDiscards(a)},
		{"wakeups", adviseWakeups(a)},
		{"contention", adviseContention(counted)},
	} {
		if one.Text != "" {
			all = append(all, one)
		}
	}
	return all
}

// adviseSize says which size a ring needs. counted says that refused records were counted.
func adviseSize(s *drops.Sizing, counted bool) string {
	rates := fmt.Sprintf("programs write %s/s, and the consumer takes %s/s while records wait", RoughSize(s.WriteRate), RoughSize(s.ConsumeRate))
	pause := ""
	if s.Pause >= time.Millisecond && s.PauseBytes > 0 {
		pause = fmt.Sprintf("; the consumer paused for up to %v, in which programs wrote %s", Roughly(s.Pause), RoughSize(float64(s.PauseBytes)))
	}
	switch s.Verdict {
	case drops.TooSlow:
		return "no size helps: " + rates
	case drops.Unconsumed:
		return fmt.Sprintf("no size helps: nothing was consumed in %v", Roughly(s.Elapsed))
	case drops.TooLarge:
		return fmt.Sprintf("no ring is large enough: it would have had to hold %s; %s", RoughSize(float64(s.Need)), rates)
	case drops.Enlarge:
		atLeast, until := "", "before the consumer caught up"
		if s.AtLeast {
			atLeast, until = "at least ", "and the consumer has not caught up yet"
		}
		return fmt.Sprintf("%s%s would have held it: %s waited and %s more was refused %s, %s in all%s",
			atLeast, FormatSize(s.Suggested), FormatSize(s.Size), RoughSize(float64(s.Extra)), until, RoughSize(float64(s.Need)), pause)
	}
	switch full := s.Backlog > 0 && s.Backlog >= s.Size/16*15; {
	case !counted && full && s.Consumed == 0:
		return fmt.Sprintf("no size helps: nothing was consumed in %v", Roughly(s.Elapsed))
	case !counted && full:
		return fmt.Sprintf("at least %s: the ring was full, and how much was refused is unknown%s", FormatSize(drops.FitSize(s.Size)), pause)
	case !counted || s.Written == 0:
		return ""
	}
	return fmt.Sprintf("%s is enough: at most %s waited%s", FormatSize(s.Size), RoughSize(float64(s.Backlog)), pause)
}

// What is worth advice.
const (
	leastRecords   = 20       // that were seen
	leastWaste     = 1.0 / 10 // of the reserved bytes
	leastDiscarded = 1.0 / 10 // of the records
	leastContended = 1.0 / 50 // of the reservations
	leastWakeups   = 1000     // a second
)

// AdviseRecords says in one sentence what is wrong with the records themselves, or "".
func AdviseRecords(a *drops.Advice) string { return cmp.Or(adviseTails(a), adviseDiscards(a)) }

// adviseTails says how much of the records nobody writes, of the length that wastes most.
func adviseTails(a *drops.Advice) string {
	if len(a.Tails) == 0 || a.Records < leastRecords {
		return ""
	}
	t := &a.Tails[0]
	if float64(t.Reserved()-t.Used()) < leastWaste*float64(a.Seen+a.Skipped) {
		return ""
	}
	unused := t.Unused / t.Records
	what, about := "zero bytes", ""
	if t.Stale > t.Records/2 {
		what = "bytes that nobody writes"
	}
	if uint64(t.Least) != unused {
		about = "about "
	}
	gain := t.Gain()
	if gain >= 3 {
		gain = math.Round(gain)
	}
	return fmt.Sprintf("records of %s bytes end in %s%s %s: with records of variable size (bpf_ringbuf_output, bpf_ringbuf_reserve_dynptr) "+
		"the ring would hold %.3g times as many", Grouped(uint64(t.Len)), about, Grouped(unused), what, gain)
}

func adviseDiscards(a *drops.Advice) string {
	all := a.Records + a.Discarded
	if all < leastRecords || float64(a.Discarded) < leastDiscarded*float64(all) {
		return ""
	}
	return fmt.Sprintf("%s of the records, %s of the bytes, are discarded after they were reserved: decide before bpf_ringbuf_reserve",
		Percent(a.Discarded, all), Percent(a.Skipped, a.Seen+a.Skipped))
}

// adviseWakeups compares wakeups with records.
func adviseWakeups(a *drops.Advice) string {
	seconds := a.Sizing.Elapsed.Seconds()
	if seconds == 0 || float64(a.Sleeps)/seconds < leastWakeups || a.Sleeps < a.Records/4 {
		return ""
	}
	return fmt.Sprintf("the consumer sleeps %s times a second for %s records: BPF_RB_NO_WAKEUP on most records, and BPF_RB_FORCE_WAKEUP "+
		"when enough wait (bpf_ringbuf_query), save wakeups", Grouped(uint64(float64(a.Sleeps)/seconds)), Grouped(uint64(float64(a.Records)/seconds)))
}

func adviseContention(r *drops.Ring) string {
	if r == nil || r.Calls == 0 || float64(r.Contended) < leastContended*float64(r.Calls) {
		return ""
	}
	return fmt.Sprintf("%s of the reservations met another CPU in the ring: a ring for each CPU (an ARRAY_OF_MAPS) ends that", Percent(r.Contended, r.Calls))
}

// Percent formats part/all, such as "21.0%". A part is never 0%, and less than all never 100%.
func Percent(part, all uint64) string {
	switch share := 100 * float64(part) / float64(all); {
	case all == 0:
		return "-"
	case part > 0 && share < 0.05:
		return "<0.1%"
	case part < all && share >= 99.95:
		return ">99.9%"
	default:
		return fmt.Sprintf("%.1f%%", share)
	}
}

// Roughly rounds a duration to three digits or so.
func Roughly(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond)
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}
