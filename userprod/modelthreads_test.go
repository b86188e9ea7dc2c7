package userprod

import "github.com/rbtool/rbtool/internal/model"

// mortal makes each step impossible once the process is dead. Stores that the process made before
// become visible.
func mortal(steps []model.Step) {
	for i := range steps {
		do := steps[i].Do
		steps[i].Do = func(v *model.View) {
			if v.Peek(dead) == 1 {
				v.Goto("end")
				return
			}
			do(v)
		}
	}
}

// drainThread models bpf_user_ringbuf_drain, called whenever there is a sample to drain.
func drainThread() model.Thread {
	const regCons, regEnd, regState = 0, 1, 2
	release := func(v *model.View) { v.Release(consumerPos, v.Reg(regCons)+1); v.Goto("peek") }
	return model.Thread{Name: "kernel", Steps: []model.Step{
		{
			Label: "peek", Doc: "peek: prod_pos = smp_load_acquire(&rb->producer_pos)",
			When: func(v *model.View) bool {
				cons := v.Load(consumerPos)
				return cons < v.Peek(producerPos) && v.Peek(slotOf(headers, cons))%states != stateBusy
			},
			Do: func(v *model.View) { v.Set(regEnd, v.Load(producerPos)); v.Set(regCons, v.Load(consumerPos)) },
		},
		{Doc: "peek: hdr_len = smp_load_acquire(hdr)", Do: func(v *model.View) {
			v.Set(regState, v.Load(slotOf(headers, v.Reg(regCons)))%states)
			if v.Reg(regCons) >= v.Reg(regEnd) || v.Reg(regState) == stateBusy {
				v.Goto("peek")
			}
		}},
		{Doc: "callback, or -EAGAIN", Do: func(v *model.View) {
			if v.Reg(regState) == stateDiscarded {
				return
			}
			n := v.Load(slotOf(payloads, v.Reg(regCons))) - 1
			switch {
			case n < 0 || v.Peek(drained)>>n&1 == 1:
				v.Fail("the sample at %d is read before it is complete", v.Reg(regCons))
				return
			case v.Peek(tried)>>n&1 == 0:
				v.Fail("sample %d is drained and was not committed", n)
			}
			v.Poke(drained, v.Peek(drained)|1<<n)
		}},
		{Doc: "sample_release: smp_store_release(&rb->consumer_pos)", Do: release},
	}}
}

// nextProducer models the next Producer: it opens the ring when all goroutines of the previous
// Producer are gone, and writes sample n.
func nextProducer(weak weakness, goroutines, n int) model.Thread {
	const regPos, regEnd = 0, 1
	return model.Thread{Name: "next", Steps: []model.Step{
		{
			Doc:  "take the claim; restore: consumer_pos",
			When: func(v *model.View) bool { return weak == noClaim || v.Peek(gone) == goroutines },
			Do:   func(v *model.View) { v.Set(regPos, v.Load(consumerPos)) },
		},
		{Doc: "restore: producer_pos", Do: func(v *model.View) {
			v.Set(regEnd, v.Load(producerPos))
			if weak == noRestore {
				v.Goto("write")
			}
		}},
		{Label: "walk", Doc: "restore: walk: discard what is BUSY", Do: func(v *model.View) {
			pos := v.Reg(regPos)
			if pos == v.Reg(regEnd) {
				v.Goto("write")
				return
			}
			at := slotOf(headers, pos)
			if h := v.Load(at); h%states == stateBusy {
				v.CompareAndSwap(at, h, h-stateBusy+stateDiscarded)
			}
			v.Set(regPos, pos+1)
			v.Goto("walk")
		}},
		{
			Label: "write", Doc: "TryWrite: SetTagged",
			When: func(v *model.View) bool { return v.Reg(regEnd)-v.Peek(consumerPos) < slots },
			Do:   func(v *model.View) { v.Store(slotOf(headers, v.Reg(regEnd)), stateCommitted) },
		},
		{Doc: "TryWrite: the payload", Do: func(v *model.View) {
			v.Poke(tried, v.Peek(tried)|1<<n)
			v.Store(slotOf(payloads, v.Reg(regEnd)), 1+n)
		}},
		{Doc: "TryWrite: publish: SetProducerPos", Do: func(v *model.View) {
			v.Release(producerPos, v.Reg(regEnd)+1)
			v.Poke(told, v.Peek(told)|1<<n)
		}},
	}}
}
