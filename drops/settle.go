package drops

import "github.com/rbtool/rbtool/internal/bpf/ringcalls"

// positions are those of a ring when the counts were read.
type positions struct {
	producer, consumer uint64
	tickets            uint64 // calls begun
	steady             bool   // the producer did not move while the counts were read, and no call was in flight
}

// settle checks the outcomes of a CPU's last calls as the program does at the next one (ringcalls.bpf.c,
// check_last). It returns the bytes by which calls that are not over will move the producer.
func (now *positions) settle(p *ringcalls.CPU, size uint64) (coming uint64) {
	for i := range p.Last {
		coming += now.settleCall(p, &p.Last[i], size)
	}
	return coming
}

func (now *positions) settleCall(p *ringcalls.CPU, last *ringcalls.Call, size uint64) (coming uint64) {
	length := recordLength(last.Size)
	alone := now.steady && last.Ticket+1 == now.tickets
	moved := now.producer - last.ProducerPos
	switch last.Outcome {
	case ringcalls.Refused:
		switch {
		case alone && moved == length:
			p.All.Failed--
			p.All.FailedBytes -= length
		case alone && moved == 0:
		case last.ProducerPos+length-now.consumer < size:
			p.UnsureRefused++
		}
	case ringcalls.Reserved:
		switch {
		case alone && moved == length:
		case now.producer+length-last.Limit >= size:
			p.UnsureReserved++
		case moved == 0:
			return length
		}
	}
	return 0
}
