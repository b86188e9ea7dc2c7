package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/testenv"
)

// event is the type of eventType as a Go struct.
type event struct {
	Ktime     uint64
	PID, PPID uint32
	Latency   uint64
	UID       uint32
	Comm      [16]byte
	Filename  [60]byte
}

// BenchmarkBesideEncodingJSON turns records of 104 bytes into JSON in three ways, one after the other in each round: by a type from BTF, by a
// reconstructed type, and by cilium/ebpf's reader with encoding/binary and encoding/json. The figures are CPU time, so that a busy
// machine changes them little. Opening the ring is not counted.
func BenchmarkBesideEncodingJSON(b *testing.B) {
	const total = 64 << 10
	named, print := eventType(b)
	reconstructed, err := decode.NewCases([]decode.Case{{
		Type: named.Codecs()[0].Type(), Options: decode.Options{KnownBy: "reconstructed", Meanings: map[int]decode.Meaning{0: decode.Ktime}},
	}})
	if err != nil {
		b.Fatal(err)
	}
	names, rings := []string{"named", "reconstructed", "encoding/json"}, make([]*ebpf.Map, 3)
	for i := range rings {
		rings[i] = testenv.Ring(b, total*128)
	}
	read := []func(n uint64){
		readerOfJSON(b, rings[0], FormatOptions{Types: named, Print: print}),
		readerOfJSON(b, rings[1], FormatOptions{Types: reconstructed, Print: print}),
		readerOfEncodingJSON(b, rings[2]),
	}
	fill := []*ebpf.Program{eventsIn(b, rings[0]), eventsIn(b, rings[1]), eventsIn(b, rings[2])}
	var cpu [3]int64
	for b.Loop() {
		for i := range rings {
			if _, err := fill[i].Run(&ebpf.RunOptions{Data: make([]byte, 14), Repeat: total}); err != nil {
				b.Fatal(err)
			}
			runtime.GC() // that of the contender before
			before := cpuTime()
			read[i](total)
			cpu[i] += cpuTime() - before
		}
	}
	for i, name := range names {
		b.ReportMetric(float64(cpu[i])/float64(b.N*total), name+"-ns/record")
		if i < 2 {
			b.ReportMetric(float64(cpu[2])/float64(cpu[i]), name+"-times")
		}
	}
}

// readerOfJSON returns a function that reads n records as rbtool tail does.
func readerOfJSON(b *testing.B, ring *ebpf.Map, o FormatOptions) func(n uint64) {
	out := &Writer{W: io.Discard, Format: NewFormat(JSON, o)}
	src, err := ConsumeRings(consumer.Options{BeforePublish: out.Flush})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { src.Close() })
	if _, err := src.Add(ring, false); err != nil {
		b.Fatal(err)
	}
	return func(n uint64) {
		s := Stream{Source: src, Sink: out, Limits: Limits{Records: n}, Batch: 256}
		if err := s.Run(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// readerOfEncodingJSON returns a function that reads n records as programs that use cilium/ebpf do.
func readerOfEncodingJSON(b *testing.B, ring *ebpf.Map) func(n uint64) {
	r, err := ringbuf.NewReader(ring)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { r.Close() })
	encoder := json.NewEncoder(io.Discard)
	text := func(s []byte) string { return string(s[:max(bytes.IndexByte(s, 0), 0)]) }
	return func(n uint64) {
		for range n {
			rec, err := r.Read()
			if err != nil {
				b.Fatal(err)
			}
			var e event
			if err := binary.Read(bytes.NewReader(rec.RawSample), binary.LittleEndian, &e); err != nil {
				b.Fatal(err)
			}
			if err := encoder.Encode(struct {
				Ktime    uint64 `json:"ktime"`
				PID      uint32 `json:"pid"`
				PPID     uint32 `json:"ppid"`
				Latency  uint64 `json:"latency"`
				UID      uint32 `json:"uid"`
				Comm     string `json:"comm"`
				Filename string `json:"filename"`
			}{e.Ktime, e.PID, e.PPID, e.Latency, e.UID, text(e.Comm[:]), text(e.Filename[:])}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// eventsIn returns a program that puts an event into the ring.
func eventsIn(b *testing.B, ring *ebpf.Map) *ebpf.Program {
	record := event{Ktime: 1234567890, PID: 123456, PPID: 120000, Latency: 1234567, UID: 1000}
	copy(record.Comm[:], "kworker/0:1")
	copy(record.Filename[:], "/usr/lib/x86_64-linux-gnu/libc.so.6")
	raw, err := binary.Append(nil, binary.LittleEndian, record)
	if err != nil {
		b.Fatal(err)
	}
	var code asm.Instructions
	for off := 0; off < len(raw); off += 8 {
		code = append(code, asm.LoadImm(asm.R1, int64(binary.LittleEndian.Uint64(raw[off:])), asm.DWord),
			asm.StoreMem(asm.RFP, int16(off-len(raw)), asm.R1, asm.DWord))
	}
	code = append(code, asm.LoadMapPtr(asm.R1, ring.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, int32(-len(raw))),
		asm.Mov.Imm(asm.R3, int32(len(raw))), asm.Mov.Imm(asm.R4, 0), asm.FnRingbufOutput.Call(), asm.Mov.Imm(asm.R0, 0), asm.Return())
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "events", Type: ebpf.SchedCLS, License: "MIT", Instructions: code})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Close() })
	return p
}
