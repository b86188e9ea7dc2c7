package consumer

import "github.com/rbtool/rbtool/internal/model"

// The kernel's half of the model of waiting: the producers, and the path of a wakeup.

// States of a header. A slot is empty before the first lap. After that it keeps the header of the
// previous lap until the next record is reserved in it.
const (
	headerEmpty = iota
	headerBusy
	headerCommitted
	headerDiscarded
)

// Registers of a producer.
const (
	regSeq  = iota // number of reservations so far
	regPos         // position of its record
	regCons        // consumer_pos as loaded
)

// kernelFlags say how a producer ends a record: with bpf_ringbuf_submit or bpf_ringbuf_discard, and
// with which wakeup flag.
type kernelFlags struct {
	noWakeup, force, discard bool
}

// kernelProducer models the kernel's code for a program that reserves and commits one record for
// each element of flags. It drops a record if the ring is full.
func kernelProducer(name string, weak weakness, flags ...kernelFlags) model.Thread {
	flag := func(v *model.View) kernelFlags { return flags[v.Reg(regSeq)] }
	slot := func(v *model.View) model.Word { return model.Word(v.Reg(regPos) % slots) }
	done := func(v *model.View) {
		if v.Set(regSeq, v.Reg(regSeq)+1); v.Reg(regSeq) == len(flags) {
			v.Stop()
		} else {
			v.Goto("reserve")
		}
	}
	return model.Thread{Name: name, Steps: []model.Step{
		// __bpf_ringbuf_reserve
		{Label: "reserve", Doc: "reserve: cons_pos = smp_load_acquire(&rb->consumer_pos)", Do: func(v *model.View) {
			v.Set(regCons, v.Load(consumerPos))
		}},
		{
			Doc:  "reserve: raw_res_spin_lock_irqsave",
			When: func(v *model.View) bool { return v.Peek(spinlock) == 0 },
			Do:   func(v *model.View) { v.Swap(spinlock, 1) },
		},
		{Doc: "reserve: prod_pos = rb->producer_pos; bpf_ringbuf_has_space", Do: func(v *model.View) {
			v.Set(regPos, v.Load(producerPos))
			if v.Reg(regPos)+1-v.Reg(regCons) > slots-1 {
				v.Goto("full")
			}
		}},
		{Doc: "reserve: hdr->len = size | BPF_RINGBUF_BUSY_BIT", Do: func(v *model.View) {
			if v.Reg(regPos)-v.Peek(read) >= slots {
				v.Fail("record %d overwrites one that was not read", v.Reg(regPos))
			}
			v.Store(headers+slot(v), headerBusy)
		}},
		{Doc: "reserve: smp_store_release(&rb->producer_pos, new_prod_pos)", Do: func(v *model.View) {
			v.Release(producerPos, v.Reg(regPos)+1)
		}},
		{Doc: "reserve: raw_res_spin_unlock_irqrestore", Do: func(v *model.View) { v.Release(spinlock, 0) }},
		// The program.
		{Doc: "write the payload", Do: func(v *model.View) { v.Store(payloads+slot(v), v.Reg(regPos)+1) }},
		// bpf_ringbuf_commit
		{Doc: "commit: xchg(&hdr->len, new_len)", Do: func(v *model.View) {
			header := headerCommitted
			if flag(v).discard {
				header = headerDiscarded
			}
			if weak == plainCommit {
				v.Release(headers+slot(v), header)
			} else {
				v.Swap(headers+slot(v), header)
			}
		}},
		{Doc: "commit: cons_pos = smp_load_acquire(&rb->consumer_pos); irq_work_queue if it is this record's", Do: func(v *model.View) {
			f, caughtUp := flag(v), v.Load(consumerPos) == v.Reg(regPos)
			if f.force || caughtUp && !f.noWakeup {
				v.Poke(irqWork, 1)
			}
			done(v)
		}},
		{Label: "full", Doc: "reserve: no room: unlock", Do: func(v *model.View) { v.Release(spinlock, 0); done(v) }},
	}}
}

// wakeup models the path of a wakeup from the CPU of the producer to the goroutine of the Reader.
var wakeup = []model.Thread{
	{Name: "irq", Steps: []model.Step{{
		Label: "irq", Doc: "bpf_ringbuf_notify: wake_up_all; ep_poll_callback",
		When: func(v *model.View) bool { return v.Peek(irqWork) == 1 },
		Do:   func(v *model.View) { v.Poke(irqWork, 0); v.Poke(epollReady, 1); v.Goto("irq") },
	}}},
	{Name: "netpoll", Steps: []model.Step{{
		Label: "netpoll", Doc: "runtime.netpoll: epoll_wait; netpollunblock: pollDesc.rg = pdReady",
		When: func(v *model.View) bool { return v.Peek(epollReady) == 1 },
		Do:   func(v *model.View) { v.Poke(epollReady, 0); v.Poke(pollReady, 1); v.Goto("netpoll") },
	}}},
}
