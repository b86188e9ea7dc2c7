package consumer

import "github.com/rbtool/rbtool/internal/model"

// The kernel's half of the model of overwrite mode. Positions count words of 8 bytes. A record is a
// header and one or more words of payload. The ring can be completely full but for one word, as in
// the kernel.
const (
	overConsumer  model.Word = iota // consumer_pos
	overProducer                    // producer_pos
	overPending                     // pending_pos, which only the holder of the lock accesses
	overOverwrite                   // overwrite_pos
	overLock                        // bpf_ringbuf.spinlock
	overCells                       // the ring
)

// Words that do not model memory: those of the model of waiting.
const (
	overIRQ     = overCells + ringWords + iota // bpf_ringbuf.work is queued
	overEpoll                                  // the ring is in the ready list of the runtime's epoll instance
	overReady                                  // pollDesc.rg is pdReady
	overRead                                   // position up to which the Reader has read
	overWordsIn                                // number of words of the model
)

// ringWords is the size of the ring in words.
const ringWords = 5

// A header word contains a state and the number of words of the record. A payload word contains
// payloadWord plus its position, so that each is unique.
const (
	headerStates = 3
	payloadWord  = 32
)

// Registers of the kernel's code.
const (
	regNext  = iota // index of the record in sizes
	regBegin        // its position
	regWords        // number of payload words written
)

func headerWord(state, words int) int { return state + headerStates*words }

func isPayload(word int) bool { return word >= payloadWord }

// spanOf returns the number of words of the record with this header.
func spanOf(header int) int { return 1 + header/headerStates }

// looksBusy reports whether a Reader takes a word for a header with the BUSY bit. A payload can look like
// anything: here half of them look BUSY.
func looksBusy(word int) bool {
	if isPayload(word) {
		return word%2 == 1
	}
	return word%headerStates == headerBusy
}

func cellAt(pos int) model.Word { return overCells + model.Word(pos%ringWords) }

// room models the part of __bpf_ringbuf_reserve that moves pending_pos and overwrite_pos for a record that
// ends at end. It returns false if there is no space.
func room(v *model.View, end int) (over int, ok bool) {
	pending, prod := v.Peek(overPending), v.Load(overProducer)
	for pending < prod && v.Load(cellAt(pending))%headerStates != headerBusy {
		pending += spanOf(v.Load(cellAt(pending)))
	}
	v.Poke(overPending, pending)
	if end-pending > ringWords-1 {
		return 0, false
	}
	over = v.Load(overOverwrite)
	for end-over > ringWords-1 {
		over += spanOf(v.Load(cellAt(over)))
	}
	return over, true
}

// overwriteProducer models the kernel's code for a program that reserves and commits records with the given
// numbers of payload words.
func overwriteProducer(name string, sizes []int) model.Thread {
	words := func(v *model.View) int { return sizes[v.Reg(regNext)] }
	done := func(v *model.View) {
		v.Set(regBegin, 0)
		v.Set(regWords, 0)
		if v.Set(regNext, v.Reg(regNext)+1); v.Reg(regNext) == len(sizes) {
			v.Stop()
		} else {
			v.Goto("reserve")
		}
	}
	return model.Thread{Name: name, Steps: []model.Step{
		// __bpf_ringbuf_reserve
		{
			Label: "reserve", Doc: "reserve: raw_res_spin_lock_irqsave",
			When: func(v *model.View) bool { return v.Peek(overLock) == 0 },
			Do:   func(v *model.View) { v.Swap(overLock, 1) },
		},
		{Doc: "reserve: pending_pos; bpf_ringbuf_has_space; WRITE_ONCE(rb->overwrite_pos, over_pos)", Do: func(v *model.View) {
			v.Set(regBegin, v.Load(overProducer))
			over, ok := room(v, v.Reg(regBegin)+1+words(v))
			if !ok {
				v.Goto("full")
				return
			}
			v.Store(overOverwrite, over)
		}},
		{Doc: "reserve: hdr->len = size | BPF_RINGBUF_BUSY_BIT", Do: func(v *model.View) {
			v.Store(cellAt(v.Reg(regBegin)), headerWord(headerBusy, words(v)))
		}},
		{Doc: "reserve: smp_store_release(&rb->producer_pos, new_prod_pos)", Do: func(v *model.View) {
			v.Release(overProducer, v.Reg(regBegin)+1+words(v))
		}},
		{Doc: "reserve: raw_res_spin_unlock_irqrestore", Do: func(v *model.View) { v.Release(overLock, 0) }},
		// The program.
		{Label: "payload", Doc: "write a word of the payload", Do: func(v *model.View) {
			v.Set(regWords, v.Reg(regWords)+1)
			pos := v.Reg(regBegin) + v.Reg(regWords)
			v.Store(cellAt(pos), payloadWord+pos)
			if v.Reg(regWords) < words(v) {
				v.Goto("payload")
			}
		}},
		// bpf_ringbuf_commit
		{Doc: "commit: xchg(&hdr->len, new_len)", Do: func(v *model.View) {
			v.Swap(cellAt(v.Reg(regBegin)), headerWord(headerCommitted, words(v)))
		}},
		{Doc: "commit: irq_work_queue if consumer_pos & rb->mask is this record's", Do: func(v *model.View) {
			if v.Load(overConsumer)%ringWords == v.Reg(regBegin)%ringWords {
				v.Poke(overIRQ, 1)
			}
			done(v)
		}},
		{Label: "full", Doc: "reserve: no room: unlock", Do: func(v *model.View) { v.Release(overLock, 0); done(v) }},
	}}
}

// overwriteWakeup models the path of a wakeup as the model of waiting does.
var overwriteWakeup = []model.Thread{
	{Name: "irq", Steps: []model.Step{{
		Label: "irq", Doc: "bpf_ringbuf_notify: wake_up_all; ep_poll_callback",
		When: func(v *model.View) bool { return v.Peek(overIRQ) == 1 },
		Do:   func(v *model.View) { v.Poke(overIRQ, 0); v.Poke(overEpoll, 1); v.Goto("irq") },
	}}},
	{Name: "netpoll", Steps: []model.Step{{
		Label: "netpoll", Doc: "runtime.netpoll: epoll_wait; netpollunblock: pollDesc.rg = pdReady",
		When: func(v *model.View) bool { return v.Peek(overEpoll) == 1 },
		Do:   func(v *model.View) { v.Poke(overEpoll, 0); v.Poke(overReady, 1); v.Goto("netpoll") },
	}}},
}
