package decode_test

import (
	"encoding/binary"
	"fmt"
	"log"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
)

var (
	u32  = &btf.Int{Name: "__u32", Size: 4}
	char = &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}
)

// execEvent is the type that decode.Find returns for
//
//	struct exec_event { __u32 pid; char comm[8]; };
func execEvent() btf.Type {
	return &btf.Struct{Name: "exec_event", Size: 12, Members: []btf.Member{
		{Name: "pid", Type: u32, Offset: 0},
		{Name: "comm", Type: &btf.Array{Index: u32, Type: char, Nelems: 8}, Offset: 4 * 8},
	}}
}

// Convert a record to JSON and text, and JSON to a record.
func Example() {
	codec, err := decode.New(execEvent())
	if err != nil {
		log.Fatal(err)
	}
	record := append(binary.LittleEndian.AppendUint32(nil, 311), "bash\x00\x00\x00\x00"...)
	json, err := codec.AppendJSON(nil, record)
	if err != nil {
		log.Fatal(err)
	}
	text, err := codec.AppendText(nil, record)
	if err != nil {
		log.Fatal(err)
	}
	again, err := codec.AppendRecord(nil, json, 4096)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n%s\n%x\n", json, text, again)
	// Output:
	// {"pid":311,"comm":"bash"}
	// pid=311 comm=bash
	// 370100006261736800000000
}

// Convert only some fields of a record.
func ExampleCodec_Select() {
	codec, err := decode.New(execEvent())
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range codec.Fields() {
		fmt.Println(f.Path, f.Type)
	}
	values, err := codec.Select("comm").Values([]byte("\x37\x01\x00\x00bash\x00\x00\x00\x00"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(values)
	// Output:
	// [pid] int
	// [comm] string
	// map[comm:bash]
}

// The records of a ring have one of two types. Their first member, an enum, says which.
func ExampleSet() {
	kind := &btf.Enum{Name: "kind", Size: 4, Values: []btf.EnumValue{{Name: "OPENED", Value: 1}, {Name: "CLOSED", Value: 2}}}
	record := func(name, field string) btf.Type {
		return &btf.Struct{Name: name, Size: 8, Members: []btf.Member{{Name: "kind", Type: kind}, {Name: field, Type: u32, Offset: 4 * 8}}}
	}
	set, err := decode.NewSet(record("opened", "fd"), record("closed", "error"))
	if err != nil {
		log.Fatal(err)
	}
	for _, data := range []string{"\x01\x00\x00\x00\x07\x00\x00\x00", "\x02\x00\x00\x00\x00\x00\x00\x00"} {
		codec, err := set.Codec([]byte(data))
		if err != nil {
			log.Fatal(err)
		}
		json, err := codec.AppendJSON(nil, []byte(data))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %s\n", codec.Name(), json)
	}
	// Output:
	// opened {"kind":"OPENED","fd":7}
	// closed {"kind":"CLOSED","error":0}
}
