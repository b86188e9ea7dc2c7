package consumer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/rbtool/rbtool/internal/model"
	"github.com/rbtool/rbtool/internal/testenv"
)

// A model of an Observer beside producers and the consumer of the ring. Rules: no record that the
// Observer hands out is torn or uncommitted, and the Observer resumes where a record begins.
//
// Positions count words of 8 bytes. A record is a header and a payload of one word each. If the
// ring has an odd number of words, headers overwrite payloads of the previous lap, and payloads
// overwrite headers. If the number is even, headers overwrite headers.
const (
	obsConsumer model.Word = iota // consumer_pos
	obsProducer                   // producer_pos
	obsLock                       // bpf_ringbuf.spinlock
	obsCells                      // the ring
)

// span is the number of words of a record.
const span = 2

// cells is the number of words of a ring.
type cells int

func (c cells) at(pos int) model.Word { return obsCells + model.Word(pos%int(c)) }

// Contents of a cell: the state of a header, or cellPayload plus the position of the record whose
// payload it is.
const (
	cellEmpty = iota
	cellBusy
	cellCommitted
	cellDiscarded
	cellPayload // payload of the record at position 0
)

// Registers of a producer.
const (
	regProdPos  = iota // position of its record
	regProdDone        // number of its records so far
	regProdCons        // consumer_pos as loaded
)

// producer models the kernel's code for a program that reserves records and ends them as commits
// says. It drops a record if the ring is full.
func (c cells) producer(name string, commits ...int) model.Thread {
	done := func(v *model.View) {
		if v.Set(regProdDone, v.Reg(regProdDone)+1); v.Reg(regProdDone) == len(commits) {
			v.Stop()
		} else {
			v.Goto("reserve")
		}
	}
	return model.Thread{Name: name, Steps: []model.Step{
		// __bpf_ringbuf_reserve
		{Label: "reserve", Doc: "reserve: cons_pos = smp_load_acquire(&rb->consumer_pos)", Do: func(v *model.View) {
			v.Set(regProdCons, v.Load(obsConsumer))
		}},
		{
			Doc:  "reserve: raw_res_spin_lock_irqsave",
			When: func(v *model.View) bool { return v.Peek(obsLock) == 0 },
			Do:   func(v *model.View) { v.Swap(obsLock, 1) },
		},
		{Doc: "reserve: prod_pos = rb->producer_pos; bpf_ringbuf_has_space", Do: func(v *model.View) {
			v.Set(regProdPos, v.Load(obsProducer))
			if v.Reg(regProdPos)+span-v.Reg(regProdCons) > int(c)-1 {
				v.Goto("full")
			}
		}},
		{Doc: "reserve: hdr->len = size | BPF_RINGBUF_BUSY_BIT", Do: func(v *model.View) {
			v.Store(c.at(v.Reg(regProdPos)), cellBusy)
		}},
		{Doc: "reserve: smp_store_release(&rb->producer_pos, new_prod_pos)", Do: func(v *model.View) {
			v.Release(obsProducer, v.Reg(regProdPos)+span)
		}},
		{Doc: "reserve: raw_res_spin_unlock_irqrestore", Do: func(v *model.View) { v.Release(obsLock, 0) }},
		// The program.
		{Doc: "write the payload", Do: func(v *model.View) {
			v.Store(c.at(v.Reg(regProdPos)+1), cellPayload+v.Reg(regProdPos))
		}},
		{Doc: "commit: xchg(&hdr->len, new_len)", Do: func(v *model.View) {
			v.Swap(c.at(v.Reg(regProdPos)), commits[v.Reg(regProdDone)])
			done(v)
		}},
		{Label: "full", Doc: "reserve: no room: unlock", Do: func(v *model.View) { v.Release(obsLock, 0); done(v) }},
	}}
}

// userProducer models the producer of a user ring, which writes a sample before it publishes the
// sample.
func (c cells) userProducer(samples int) model.Thread {
	return model.Thread{Name: "producer", Steps: []model.Step{
		{
			Label: "sample", Doc: "wait for room: consumer_pos",
			When: func(v *model.View) bool { return v.Reg(regProdPos)+span-v.Peek(obsConsumer) <= int(c) },
			Do:   func(v *model.View) { v.Load(obsConsumer) },
		},
		{Doc: "the header", Do: func(v *model.View) { v.Store(c.at(v.Reg(regProdPos)), cellCommitted) }},
		{Doc: "the payload", Do: func(v *model.View) {
			v.Store(c.at(v.Reg(regProdPos)+1), cellPayload+v.Reg(regProdPos))
		}},
		{Doc: "publish producer_pos", Do: func(v *model.View) {
			v.Set(regProdPos, v.Reg(regProdPos)+span)
			v.Swap(obsProducer, v.Reg(regProdPos)) // an atomic store of Go is a swap
			if v.Set(regProdDone, v.Reg(regProdDone)+1); v.Reg(regProdDone) == samples {
				v.Stop()
			} else {
				v.Goto("sample")
			}
		}},
	}}
}

// consumer models a consumer that publishes each record by itself.
func (c cells) consumer() model.Thread {
	committed := func(v *model.View) bool {
		header := v.Peek(c.at(v.Reg(0)))
		return v.Peek(obsProducer) != v.Reg(0) && (header == cellCommitted || header == cellDiscarded)
	}
	return model.Thread{Name: "consumer", Steps: []model.Step{{
		Label: "next", Doc: "a committed record: publish consumer_pos", When: committed,
		Do: func(v *model.View) {
			v.Set(0, v.Reg(0)+span)
			v.Swap(obsConsumer, v.Reg(0))
			v.Goto("next")
		},
	}}}
}

// proof says how the Observer proves its copy of the record at p: reach or consumer suffices.
type proof struct {
	reach    cells // the copy is whole if producer_pos - p, in words, is at most reach; a negative reach never holds
	consumer bool  // the copy is whole if the record at p is not consumed
	settle   bool  // producer_pos is loaded again by settled, and membarrier called unless it has moved on
	early    bool  // weakened: the positions are loaded before the copy
	swapped  bool  // weakened: the payload is copied before the header
	anywhere bool  // weakened: the Observer resumes at the oldest whole word, where a record need not begin
}

var strictProof = proof{reach: -1, consumer: true}

// Registers of the Observer.
const (
	regAt      = iota // Observer.pos
	regHeader         // copied
	regPayload        // copied
	regProd           // producer_pos as loaded for the proof
	regHead           // consumer_pos as loaded for the proof
	regStrange        // 1 if the header was BUSY and consumer_pos was already beyond it: it is not the header of a live record, so do not wait for it
)

// observer models a goroutine in Observer.Records.
func (c cells) observer(p proof) model.Thread {
	return model.Thread{Name: "observer", Steps: slices.Concat(
		[]model.Step{{
			Label: "look", Doc: "Wait; Pass: producer_pos",
			When: func(v *model.View) bool { return v.Peek(obsProducer) != v.Reg(regAt) },
			Do:   func(v *model.View) { v.Load(obsProducer) },
		}},
		c.observerCopy(p), c.observerProve(p),
	)}
}

// observerCopy copies a record and loads the positions for its proof.
func (c cells) observerCopy(p proof) []model.Step {
	copies := []model.Step{
		{Doc: "copy: the header", Do: func(v *model.View) {
			v.Set(regHeader, v.Load(c.at(v.Reg(regAt))))
			if v.Reg(regHeader) == cellBusy && v.Peek(obsConsumer) > v.Reg(regAt) {
				v.Set(regStrange, 1)
			}
		}},
		{Doc: "copy: the payload", Do: func(v *model.View) { v.Set(regPayload, v.Load(c.at(v.Reg(regAt)+1))) }},
	}
	if p.swapped {
		slices.Reverse(copies)
	}
	loads := []model.Step{
		{Doc: "proven: consumer_pos", Do: func(v *model.View) { v.Set(regHead, v.Load(obsConsumer)) }},
		{Doc: "proven: producer_pos", Do: func(v *model.View) { v.Set(regProd, v.Load(obsProducer)) }},
	}
	if p.settle {
		loads = append(loads, model.Step{Doc: "settled: producer_pos again; otherwise membarrier", Do: func(v *model.View) {
			if v.Load(obsProducer) == v.Reg(regProd) {
				v.Settle()
			}
			v.Set(regProd, v.Load(obsProducer))
		}})
	}
	if p.early {
		copies, loads = loads, copies
	}
	return append(copies, loads...)
}

// observerProve hands out the record if it is proven, and otherwise resynchronises.
func (c cells) observerProve(p proof) []model.Step {
	return []model.Step{
		{Doc: "prove; hand out", Do: func(v *model.View) {
			at, header := v.Reg(regAt), v.Reg(regHeader)
			whole := v.Reg(regProd)-at <= int(p.reach) || p.consumer && v.Reg(regHead) <= at
			switch {
			case !whole:
				v.Goto("resync")
			case header == cellBusy && v.Reg(regStrange) == 0:
				v.Goto("wait")
			case header < cellCommitted || header > cellDiscarded:
				v.Fail("the header at %d is torn: %d", at, header)
			case header == cellCommitted && v.Reg(regPayload) != cellPayload+at:
				v.Fail("the payload at %d is torn: %d", at, v.Reg(regPayload))
			default:
				v.Set(regAt, at+span)
				v.Goto("clear")
			}
		}},
		{Label: "resync", Doc: "resync: consumer_pos", Do: func(v *model.View) {
			head := v.Load(obsConsumer)
			if p.anywhere {
				head = v.Reg(regProd) - int(p.reach)
			}
			if head <= v.Reg(regAt) || head%span != 0 {
				v.Fail("resumes at %d after %d", head, v.Reg(regAt))
			}
			v.Set(regAt, head)
			v.Goto("clear")
		}},
		{
			Label: "wait", Doc: "sleep: until the header changes",
			When: func(v *model.View) bool { return v.Peek(c.at(v.Reg(regAt))) != cellBusy },
			Do:   func(v *model.View) { v.Goto("clear") },
		},
		{Label: "clear", Doc: "forget the copy", Do: func(v *model.View) {
			for r := regHeader; r <= regStrange; r++ {
				v.Set(r, 0) // clear unused registers: they would multiply the states
			}
			v.Goto("look")
		}},
	}
}

func TestModelOfObserving(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	const done, gone = cellCommitted, cellDiscarded
	const odd, even cells = 5, 6
	one := func(c cells) []model.Thread {
		return []model.Thread{c.producer("producer", done, gone, done, done, done)}
	}
	two := func(c cells) []model.Thread {
		return []model.Thread{c.producer("producer 0", done, done), c.producer("producer 1", gone, done)}
	}
	user := func(c cells) []model.Thread { return []model.Thread{c.userProducer(6)} }
	tests := []struct {
		rule      string
		size      cells
		proof     proof
		order     model.Order
		producers func(cells) []model.Thread
		fails     string
		long      bool
	}{
		{rule: "a producer that goes around the ring", size: odd, proof: proof{reach: odd - 1}, producers: one},
		{rule: "headers over headers", size: even, proof: proof{reach: even - 1}, producers: one, long: true},
		{rule: "two producers, BUSY records", size: odd, proof: proof{reach: odd - 1}, producers: two, long: true},
		{rule: "stores in any order: what is not consumed is whole", size: odd, proof: strictProof, order: model.PSO, producers: one, long: true},
		{rule: "two producers, stores in any order", size: odd, proof: strictProof, order: model.PSO, producers: two, long: true},
		{rule: "stores in any order, settled", size: odd, proof: proof{reach: odd - 1, consumer: true, settle: true}, order: model.PSO, producers: one},
		{rule: "stores in any order, settled, headers over headers", size: even, proof: proof{reach: even - 1, settle: true}, order: model.PSO, producers: one, long: true},
		{rule: "two producers, stores in any order, settled", size: odd, proof: proof{reach: odd - 1, consumer: true, settle: true}, order: model.PSO, producers: two, long: true},
		// The producer writes one sample ahead of producer_pos.
		{rule: "a user ring", size: odd, proof: proof{reach: odd - span, consumer: true}, producers: user},
		{rule: "a user ring, stores in any order", size: odd, proof: strictProof, order: model.PSO, producers: user},

		{rule: "no proof", size: odd, proof: proof{reach: 100}, producers: one, fails: "is torn"},
		{rule: "the whole size is taken for whole", size: even, proof: proof{reach: even}, producers: one, fails: "is torn"},
		{rule: "producer_pos is loaded before the copy", size: odd, proof: proof{reach: odd - 1, early: true}, producers: one, fails: "is torn"},
		{rule: "payloads are copied before headers", size: odd, proof: proof{reach: odd - 1, swapped: true}, producers: one, fails: "is torn"},
		{rule: "resumes where no record need begin", size: odd, proof: proof{reach: odd - 2, anywhere: true}, producers: one, fails: "resumes at"},
		{rule: "stores in any order, the kernel's bound", size: odd, proof: proof{reach: odd - 1}, order: model.PSO, producers: one, fails: "is torn"},
		{rule: "a user ring, the kernel's bound", size: odd, proof: proof{reach: odd - 1}, producers: user, fails: "is torn"},
	}
	for _, tt := range tests {
		if tt.long && leaveOutLong() {
			continue
		}
		t.Run(fmt.Sprintf("%s, %s", tt.rule, tt.order), func(t *testing.T) {
			m := model.Model{Words: int(obsCells) + int(tt.size), Order: tt.order}
			m.Threads = append(m.Threads, tt.size.observer(tt.proof), tt.size.consumer())
			m.Threads = append(m.Threads, tt.producers(tt.size)...)
			m.Explore().Check(t, tt.fails)
		})
	}
}
