package decode

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// exitEvent is the measured type as a Go struct.
type exitEvent struct {
	Type      uint32   `json:"type"`
	CPU       uint32   `json:"cpu"`
	PID       uint32   `json:"pid"`
	TGID      uint32   `json:"tgid"`
	PPID      uint32   `json:"ppid"`
	UID       uint32   `json:"uid"`
	Ktime     uint64   `json:"ktime"`
	StartTime uint64   `json:"start_time"`
	CgroupID  uint64   `json:"cgroup_id"`
	Comm      [16]byte `json:"comm"`
	ExitCode  uint32   `json:"exit_code"`
	Signal    uint16   `json:"signal"`
	Core      bool     `json:"core_dumped"`
	Dead      bool     `json:"group_dead"`
}

func exitEventType() btf.Type {
	event := &btf.Enum{Name: "event_type", Size: 4, Values: []btf.EnumValue{{Name: "FORK_EVENT", Value: 1}, {Name: "EXEC_EVENT", Value: 2}, {Name: "EXIT_EVENT", Value: 3}}}
	return structOf(72, member("type", event, 0), member("cpu", u32, 4), member("pid", u32, 8), member("tgid", u32, 12), member("ppid", u32, 16), member("uid", u32, 20),
		member("ktime", u64, 24), member("start_time", u64, 32), member("cgroup_id", u64, 40), member("comm", arrayOf(char, 16), 48),
		member("exit_code", u32, 64), member("signal", u16, 68), member("core_dumped", cbool, 70), member("group_dead", cbool, 71))
}

func exitEventRecord() []byte {
	return le(uint32(3), uint32(1), uint32(123456), uint32(123456), uint32(120000), uint32(1000), uint64(1234567890123456), uint64(1234567890000000), uint64(8765),
		[]byte("kworker/0:1\x00\x00\x00\x00\x00"), uint32(1), uint16(0), false, true)
}

func BenchmarkJSON(b *testing.B) {
	d, err := New(exitEventType())
	if err != nil {
		b.Fatal(err)
	}
	record := exitEventRecord()
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		if out, err = d.AppendJSON(out[:0], record); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkText(b *testing.B) {
	d, err := New(exitEventType())
	if err != nil {
		b.Fatal(err)
	}
	record := exitEventRecord()
	var out []byte
	printer := d.Printer(PrintOptions{})
	b.ReportAllocs()
	for b.Loop() {
		if out, err = printer.AppendText(out[:0], record); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCutJSON decodes a record that ends before the last field.
func BenchmarkCutJSON(b *testing.B) {
	d, err := NewWith(exitEventType(), Options{Prefix: true})
	if err != nil {
		b.Fatal(err)
	}
	record := exitEventRecord()
	record = record[:len(record)-1]
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		if out, err = d.AppendJSON(out[:0], record); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSet finds the type of a record by a tag, and by the length.
func BenchmarkSet(b *testing.B) {
	record := exitEventRecord()
	tag := func(v uint64) []Tag { return []Tag{{Size: 4, Values: []uint64{v}}} }
	for name, cases := range map[string][]Case{
		"tag":    {{Type: plain("a", 72), Tags: tag(1)}, {Type: exitEventType(), Tags: tag(3)}},
		"length": {{Type: plain("a", 64), Min: 64, Max: 64}, {Type: exitEventType(), Min: 72, Max: 72}},
		"both":   {{Type: plain("a", 72), Tags: tag(1), Min: 8}, {Type: exitEventType(), Tags: tag(3), Min: 8, Max: 72}, {Min: 100}},
	} {
		b.Run(name, func(b *testing.B) {
			set, err := NewCases(cases)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := set.Codec(record); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkJSONByReflection converts the record of BenchmarkJSON with encoding/binary and encoding/json.
func BenchmarkJSONByReflection(b *testing.B) {
	record := exitEventRecord()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		var e exitEvent
		if _, err := binary.Decode(record, binary.LittleEndian, &e); err != nil {
			b.Fatal(err)
		}
		if err := encoder.Encode(struct {
			exitEvent
			Comm string `json:"comm"`
		}{e, string(bytes.TrimRight(e.Comm[:], "\x00"))}); err != nil {
			b.Fatal(err)
		}
	}
}
