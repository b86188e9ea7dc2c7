package consumer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/rbtool/rbtool/internal/model"
)

// A model of reading a ring in overwrite mode on x86. Rules: no record is torn, no record is handed
// out before it is committed, and a Reader does not sleep with a record to read. The model has the
// words, headers and registers of the model of waiting, and these words:
const (
	overwritePos = protocolWords + iota
	overwriteWords
)

// overwriteProducer models the kernel's code for a ring in overwrite mode.
func overwriteProducer(name string, records int) model.Thread {
	slot := func(v *model.View) model.Word { return model.Word(v.Reg(regPos) % slots) }
	done := func(v *model.View) {
		if v.Set(regSeq, v.Reg(regSeq)+1); v.Reg(regSeq) == records {
			v.Stop()
		} else {
			v.Goto("reserve")
		}
	}
	return model.Thread{Name: name, Steps: []model.Step{
		// __bpf_ringbuf_reserve
		{
			Label: "reserve", Doc: "reserve: raw_res_spin_lock_irqsave",
			When: func(v *model.View) bool { return v.Peek(spinlock) == 0 },
			Do:   func(v *model.View) { v.Swap(spinlock, 1) },
		},
		{Doc: "reserve: pend_pos; bpf_ringbuf_has_space", Do: func(v *model.View) {
			v.Set(regPos, v.Load(producerPos))
			pending := max(v.Reg(regPos)-slots+1, 0)
			for pending < v.Reg(regPos) && v.Load(headers+model.Word(pending%slots)) != headerBusy {
				pending++
			}
			if v.Reg(regPos)+1-pending > slots-1 {
				v.Goto("full")
			}
		}},
		{Doc: "reserve: WRITE_ONCE(rb->overwrite_pos, over_pos)", Do: func(v *model.View) {
			v.Store(overwritePos, max(v.Load(overwritePos), v.Reg(regPos)+1-(slots-1)))
		}},
		{Doc: "reserve: hdr->len = size | BPF_RINGBUF_BUSY_BIT", Do: func(v *model.View) { v.Store(headers+slot(v), headerBusy) }},
		{Doc: "reserve: smp_store_release(&rb->producer_pos, new_prod_pos)", Do: func(v *model.View) {
			v.Release(producerPos, v.Reg(regPos)+1)
		}},
		{Doc: "reserve: raw_res_spin_unlock_irqrestore", Do: func(v *model.View) { v.Release(spinlock, 0) }},
		// The program.
		{Doc: "write the payload", Do: func(v *model.View) { v.Store(payloads+slot(v), v.Reg(regPos)+1) }},
		// bpf_ringbuf_commit
		{Doc: "commit: xchg(&hdr->len, new_len)", Do: func(v *model.View) { v.Swap(headers+slot(v), headerCommitted) }},
		{Doc: "commit: irq_work_queue if consumer_pos & rb->mask is this record's", Do: func(v *model.View) {
			if v.Load(consumerPos)%slots == v.Reg(regPos)%slots {
				v.Poke(irqWork, 1)
			}
			done(v)
		}},
		{Label: "full", Doc: "reserve: no room: unlock", Do: func(v *model.View) { v.Release(spinlock, 0); done(v) }},
	}}
}

// overwriteWeakness is a part of the protocol that a test leaves out to show that the part is
// necessary.
type overwriteWeakness int

const (
	payloadFirst  overwriteWeakness = iota + 1 // the copy loads payloads before their headers
	noProof                                    // overwrite_pos is not loaded after the copy
	overFirst                                  // overwrite_pos is loaded before producer_pos
	waitsOnBehind                              // Reader.ready checks the header of the oldest intact record without publishing its position, so the kernel does not wake the Reader for it
)

// Registers of the Reader, in addition to those of the model of waiting.
const (
	regOver   = regFrom       // overwrite_pos as loaded
	regIndex  = regPaused     // index of the next record in the copy
	regCopied = regPaused + 1 // first of the registers with the copy: headers, then payloads, see copied
)

// copied returns the register that contains a word of the copy.
func copied(index int, payload bool) int {
	r := regCopied + index%2
	if payload {
		r += 2 // payloads are in the registers after the headers
	}
	return r
}

// overwriteReader models a goroutine in Reader.Records.
func overwriteReader(weak overwriteWeakness) model.Thread {
	return model.Thread{Name: "reader", Steps: slices.Concat(
		weak.look("wait", "nothing"),
		[]model.Step{{Label: "nothing", Doc: "sleep: RawRead: runtime_pollReset", Do: func(v *model.View) { v.Poke(pollReady, 0) }}},
		weak.look("peek", "park"),
		[]model.Step{{
			Label: "park", Doc: "sleep: runtime_pollWait: until pdReady, which it takes",
			When: func(v *model.View) bool { return v.Peek(pollReady) == 1 },
			Do:   func(v *model.View) { v.Poke(pollReady, 0); v.Goto("peek") },
		}},
		weak.begin(), weak.refill(),
	)}
}

// look models Reader.ready. It goes to the label nothing if there is nothing to read.
func (weak overwriteWeakness) look(label, nothing string) []model.Step {
	return []model.Step{
		{Label: label, Doc: "ready: producer_pos", Do: func(v *model.View) { v.Set(regGoal, v.Load(producerPos)) }},
		{Doc: "ready: overwrite_pos", Do: func(v *model.View) {
			v.Set(regOver, v.Load(overwritePos))
			switch behind := v.Reg(regOver) > v.Reg(regRead); {
			case behind && weak != waitsOnBehind:
				v.Goto("pass")
			case !behind && v.Reg(regGoal) == v.Reg(regRead):
				v.Goto(nothing)
			}
		}},
		{Doc: "ready: the header", Do: func(v *model.View) {
			pos := max(v.Reg(regRead), v.Reg(regOver))
			if v.Load(headers+model.Word(pos%slots)) == headerBusy {
				v.Goto(nothing)
			} else {
				v.Goto("pass")
			}
		}},
	}
}

// begin starts a pass.
func (weak overwriteWeakness) begin() []model.Step {
	begin := []model.Step{
		{Label: "pass", Doc: "Pass: begin: producer_pos", Do: func(v *model.View) { v.Set(regGoal, v.Load(producerPos)) }},
		{Doc: "refill: overwrite_pos", Do: func(v *model.View) { v.Set(regOver, v.Load(overwritePos)) }},
	}
	if weak == overFirst {
		begin[0].Label, begin[1].Label = "", "pass"
		slices.Reverse(begin)
	}
	return begin
}

// readWord models one step of Data.Read.
func readWord(payload bool) model.Step {
	base, what := headers, "header"
	if payload {
		base, what = payloads, "payload"
	}
	return model.Step{Doc: "refill: Data.Read: a " + what, Do: func(v *model.View) {
		pos := v.Reg(regRead) + v.Reg(regIndex)
		v.Set(copied(v.Reg(regIndex), payload), v.Load(base+model.Word(pos%slots)))
	}}
}

// refill copies the records of the pass, proves them and hands them out.
func (weak overwriteWeakness) refill() []model.Step {
	first, second := readWord(false), readWord(true)
	if weak == payloadFirst {
		first, second = second, first
	}
	first.Label = "copy"
	return []model.Step{
		{Doc: "refill: skipTo", Do: func(v *model.View) {
			v.Set(regRead, max(v.Reg(regRead), v.Reg(regOver)))
			v.Set(regIndex, 0)
			switch n := v.Reg(regGoal) - v.Reg(regRead); {
			case n <= 0:
				v.Goto("end")
			case n > slots-1:
				v.Fail("%d records in a ring for %d", n, slots-1)
			}
		}},
		first, second,
		{Doc: "refill: Data.Read: the next word", Do: func(v *model.View) {
			if v.Set(regIndex, v.Reg(regIndex)+1); v.Reg(regIndex) < v.Reg(regGoal)-v.Reg(regRead) {
				v.Goto("copy")
			}
		}},
		{Doc: "refill: overwrite_pos again; skipTo; hand out what is proven", Do: func(v *model.View) {
			over := v.Load(overwritePos)
			for i := range v.Reg(regGoal) - v.Reg(regRead) {
				pos := v.Reg(regRead)
				header, payload := v.Reg(copied(i, false)), v.Reg(copied(i, true))
				if pos >= over || weak == noProof {
					if header == headerBusy {
						break
					}
					if payload != pos+1 {
						v.Fail("record %d is torn: it says %d", pos, payload-1)
					}
				}
				v.Set(regRead, pos+1)
			}
		}},
		{Label: "end", Doc: "Pass: end: publish", Do: func(v *model.View) {
			for r := regCopied; r < regCopied+4; r++ {
				v.Set(r, 0) // clear unused registers: they would multiply the states
			}
			v.Poke(read, v.Reg(regRead))
			if v.Reg(regRead) != v.Reg(regPublished) {
				v.Swap(consumerPos, v.Reg(regRead))
				v.Set(regPublished, v.Reg(regRead))
			}
			v.Goto("wait")
		}},
	}
}

func TestModelOfOverwriting(t *testing.T) {
	tests := []struct {
		rule    string
		weak    overwriteWeakness
		records []int // one element per producer: the number of its records
		fails   string
		long    bool // left out with -short
	}{
		{rule: "one producer", records: []int{3}},
		{rule: "one producer that goes around the ring", records: []int{5}, long: true},
		{rule: "a BUSY record behind which another producer commits", records: []int{1, 2}, long: true},
		{rule: "a BUSY record that another producer comes to", records: []int{1, 3}, long: true},
		{rule: "payloads are copied before headers", weak: payloadFirst, records: []int{4}, fails: "is torn"},
		{rule: "what was copied is not proven", weak: noProof, records: []int{4}, fails: "is torn"},
		{rule: "overwrite_pos is loaded before producer_pos", weak: overFirst, records: []int{4}, fails: "records in a ring for"},
		{rule: "a wait that does not say where it waits", weak: waitsOnBehind, records: []int{1, 3}, fails: "lost wakeup", long: true},
	}
	for _, tt := range tests {
		if tt.long && leaveOutLong() {
			continue
		}
		t.Run(tt.rule, func(t *testing.T) {
			m := model.Model{Words: int(overwriteWords), Threads: slices.Clone(wakeup)}
			m.AtRest = func(v *model.View) error {
				v.Poke(read, max(v.Peek(read), v.Peek(overwritePos)))
				return noLostWakeup(v)
			}
			m.Threads = append(m.Threads, overwriteReader(tt.weak))
			for i, n := range tt.records {
				m.Threads = append(m.Threads, overwriteProducer(fmt.Sprintf("producer %d", i), n))
			}
			m.Explore().Check(t, tt.fails)
		})
	}
}
