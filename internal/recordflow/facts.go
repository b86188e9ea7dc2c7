// Package recordflow follows a BPF program's instructions to the records that it puts into a ring:
// the calls that produce records, the length of the records, and the instructions that write their
// bytes. It knows nothing of types.
//
// The instructions are those of the kernel's dump (BPF_OBJ_GET_INFO_BY_FD). They are not trusted: the
// work for one program is bounded.
package recordflow

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Program is a program to analyze.
type Program struct {
	Insns asm.Instructions
	Maps  map[uint32]Map // the maps that the program uses, by id
	// Helper returns the name of the helper that a call with this immediate calls, "" if unknown.
	Helper func(immediate int32) string
}

// Map describes a map that a program uses.
type Map struct {
	Name      string
	Type      ebpf.MapType
	ValueSize uint32
	Ring      bool // the ring, or a map of maps that holds the ring
}

// Flow is what the analysis of a program finds.
type Flow struct {
	Sites []*Site
	// Drains are the calls that take samples out of the ring, if it is a user ring.
	Drains []*Drain
	// Values are the writes into the values of maps, by map id. Their offsets count from the start of
	// the value. The data of an output can be written by another program.
	Values map[uint32][]Write
}

// Site is a call that puts records into the ring. A call in a function that has several callers is several
// sites if the callers' records differ. Calls that the compiler made of one, as in a loop that it unrolled, are one site.
type Site struct {
	Ins  int    // index of the call among the instructions, that of the first of several
	More int    // how many more calls are like this one
	Func string // function that contains it
	// Callers are the calls that lead to the function, the innermost first. There is none in the program's main
	// function, or if nothing is seen to call the function.
	Callers []Caller
	Call    string // name of the helper
	How     string // if the kernel hides the helper, how its name was found
	Line    Line
	// Min and Max bound the length of the records in bytes. Max is -1 if no bound is known.
	Min, Max int64

	// Data says where the records of an output come from: first the memory, or each of several, then the
	// arguments of Func and its callers that point to it. It is empty for a reservation.
	Data []Data
	// Writes are the writes into the record, or into the data of an output, in the order of the program.
	Writes []Write
	// Passes are the calls that get a pointer into the record, or into the data of an output.
	Passes []Pass
	// Escapes reports that a pointer to the record is stored in memory or passed to code that
	// cannot be followed: there can be other writes.
	Escapes bool
}

// Drain is a call of bpf_user_ringbuf_drain.
type Drain struct {
	Ins      int
	Func     string // function that contains it
	Line     Line
	Callback string // function that gets each sample; "" if unknown
	// Reads are the reads of the samples, in the order of the program: loads, and calls that copy a part of a
	// sample or return a pointer to it. Of a Write, they have neither a value nor its origin.
	Reads []Write
	// Passes are the calls that get a pointer into a sample, or into a copy of it.
	Passes []Pass
}

// Caller is a call of a function of the program.
type Caller struct {
	Ins  int
	Func string // function that contains the call
	Line Line
}

// Line is a source line. The zero value means that there is none.
type Line struct {
	File           string
	Number, Column int    // from 1
	Text           string // with the space at its start
}

// DataKind is a kind of memory.
type DataKind uint8

// The kinds of memory that an output can copy.
const (
	UnknownData DataKind = iota
	Variable             // a global variable: the value of map Map, from Off on
	Element              // an element of map Map, or if that is 0 of a map in a map of maps, from Off on
	Argument             // what argument Param of function Func points to, from Off on
	Stack                // the stack
	Context              // the program's context
)

// Data is memory that an output copies into the ring.
type Data struct {
	Kind  DataKind
	Map   uint32
	Func  string
	Param *btf.FuncParam
	Off   int64 // negative if it is not constant, or on the stack: from the frame pointer
}

// Write is a write into a record. An instruction that writes one of a few constants, depending on the way that the
// program came, is a Write for each. So is one without a line that writes what different lines have computed.
type Write struct {
	Ins  int
	Func string // function that contains it
	Line Line
	// Off counts from the start of the record. It is negative if it is not constant; the write can
	// then be anywhere.
	Off int64
	// Least is the least that the offset can be if it is not constant; 0 otherwise.
	Least int64
	// Over reports that later writes cover all its bytes, whichever way the program goes on to where it submits
	// the record. The data of an output has no such writes.
	Over bool
	// Size is 0 if it is not constant; it is at most Max then, or unknown if that is 0 as well.
	Size, Max int64
	// Const is the value if Constant is set.
	Const    uint64
	Constant bool
	// Computed is the line of the instruction that computed the value, if that is known and no constant. The stores of an
	// initialiser all have the line where it begins, and their values the lines of the members. If a helper writes, it is
	// the line of the instruction that computed the address.
	Computed Line
	// Moved reports that it writes to the stack, from where stores copy it into the record: into a variable, or where the
	// compiler keeps a value for a while.
	Moved bool
	// Bits reports that the value is put together of bits that are not whole bytes, as that of a bitfield is.
	Bits bool
	// Joined reports that it has no line of its own, and that the instructions of Computed are in other blocks: the compiler
	// made it of the stores of several paths.
	Joined bool
	// By is the helper that writes, such as bpf_get_current_comm; "" for a store.
	By string
	// From is where a stored value comes from.
	From Origin
}

// Origin is where a value comes from.
type Origin struct {
	// Helper is the helper that returned it, such as bpf_ktime_get_ns.
	Helper string
	// Shift is how many bits the result was shifted right by, Width how many bits of it are left; 64 if
	// all are. With a Shift of 32 and a Width of 64 its halves are exchanged: it was rotated.
	Shift, Width uint8
}

// Pass is a call that gets a pointer into a record.
type Pass struct {
	Ins  int
	Line Line
	// Func is the function or helper that is called, such as bpf_ringbuf_submit.
	Func string
	// Arg is the number of the argument, from 0.
	Arg int
	// Param is the argument of a function with BTF; nil otherwise.
	Param *btf.FuncParam
	// Off is where the pointer points to, from the start of the record; negative if it is not constant.
	Off int64
}
