package proctrace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe" // only for the offsets of fields in generated structs
)

// ErrRecord reports bytes that are not a record of this package.
var ErrRecord = errors.New("not a proctrace record")

// Type is the type of an event, enum event_type in bpf/headers/proctrace.h.
type Type uint32

// The types of events.
const (
	// Fork: a process was created, or a thread of one if PID and TGID differ.
	Fork = Type(bpfEventTypeFORK_EVENT)
	// Exec: a process has started to execute another file. Its other threads have ended.
	Exec = Type(bpfEventTypeEXEC_EVENT)
	// Exit: a thread ended, and its process too if GroupDead.
	Exit = Type(bpfEventTypeEXIT_EVENT)
	// Ack: the tracer has carried out or refused a command. The event belongs to no task.
	Ack = Type(bpfEventTypeACK_EVENT)
)

// eventTypes mirrors EVENT_TYPES of bpf/headers/proctrace.h.
const eventTypes = int(Ack) + 1

// String returns the name of the record's C struct.
func (t Type) String() string {
	switch t {
	case Fork:
		return "fork_event"
	case Exec:
		return "exec_event"
	case Exit:
		return "exit_event"
	case Ack:
		return "ack_event"
	}
	return fmt.Sprintf("Type(%d)", uint32(t))
}

// size returns the length of the shortest record of a type, in bytes: that of records without
// stacks, as old versions wrote them.
func (t Type) size() int {
	switch t {
	case Exec:
		return int(unsafe.Offsetof(bpfExecEvent{}.KernelStack))
	case Exit:
		return int(unsafe.Offsetof(bpfExitEvent{}.KernelStack))
	case Ack:
		return int(unsafe.Sizeof(bpfAckEvent{}))
	}
	return int(unsafe.Sizeof(bpfForkEvent{}))
}

// filenameMax mirrors EXEC_FILENAME_MAX of bpf/headers/proctrace.h.
const filenameMax = 4096 + 32

// Event is a decoded record. Ids are those of the initial pid and user namespaces. As in the
// kernel, PID is a thread and TGID its process.
type Event struct {
	Type Type
	CPU  uint32 // CPU on which the event happened
	PID  uint32
	TGID uint32
	PPID uint32 // TGID of the parent, or of the reaper if the parent has ended
	UID  uint32 // real user id

	Ktime     uint64 // time of the event: CLOCK_MONOTONIC, ns
	StartTime uint64 // start of the process: CLOCK_BOOTTIME, ns
	CgroupID  uint64 // cgroup in the v2 hierarchy: the inode number of its directory
	Comm      string // name of the thread, at most 15 bytes

	// Only in events of type Exec.
	Filename          string // the path that the caller passed; for a script, the path of the script
	FilenameTruncated bool   // Filename lacks its end
	OldPID            uint32 // PID that the calling thread had before it took the leader's; usually PID

	// Only in events of type Exit. If GroupDead is true, they describe the process, as wait4(2)
	// does.
	ExitCode   uint32 // exit status, 0 to 255; 0 if a signal killed it
	Signal     uint16 // signal that killed it, or 0
	CoreDumped bool
	GroupDead  bool // the process has ended: true for exactly one thread of each process

	// Only in events of type Exec and Exit: ids of stacks, for the methods of [Stacks]. A negative
	// value means that there is no stack: -1 if the tracer takes no stacks, else a negative errno.
	KernelStack, UserStack int32

	// Only in events of type Ack, whose other fields are unset except Type and Ktime.
	Command string  // "watch", "ignore", "forget" or "reset"
	Subject Subject // subject of the command
	Cookie  uint64  // number that the sender chose, to recognise the answer to its command
	Err     error   // why the command was refused, see [Tracer.Watch]; nil if it was carried out
	Rules   uint32  // number of rules after the command
	Watches uint32  // number of those rules that watch
}

// typeOf returns the type of a record. It does not decode the rest.
func typeOf(record []byte) (Type, error) {
	if len(record) < 4 {
		return 0, fmt.Errorf("decode %d bytes: %w", len(record), ErrRecord)
	}
	t := Type(binary.LittleEndian.Uint32(record))
	if t < Fork || t > Ack {
		return 0, fmt.Errorf("decode %d bytes of type %d: %w", len(record), uint32(t), ErrRecord)
	}
	return t, nil
}

// Decode decodes a record of the ring. The Event does not refer to the memory of record, which may
// be in the ring. An error matches [ErrRecord]. Any number of goroutines may call Decode at once.
func Decode(record []byte) (Event, error) {
	t, err := typeOf(record)
	if err != nil {
		return Event{}, err
	}
	if len(record) < t.size() {
		return Event{}, fmt.Errorf("decode %d bytes as %s: %w", len(record), t, ErrRecord)
	}
	if t == Ack {
		return decodeAck(record), nil
	}
	e := decodeCommon(record)
	switch t {
	case Exec:
		var m bpfExecEvent
		e.OldPID = u32(record, unsafe.Offsetof(m.OldPid))
		size := u32(record, unsafe.Offsetof(m.FilenameSize))
		e.FilenameTruncated = size == filenameMax
		// The file name is at the end of the record, after the stacks, which records of old
		// versions do not have.
		rest := record[unsafe.Offsetof(m.KernelStack):]
		if uint64(len(rest)) > uint64(size) {
			e.KernelStack, e.UserStack, rest = decodeStacks(rest)
		}
		e.Filename = cString(rest)
	case Exit:
		var m bpfExitEvent
		e.ExitCode = u32(record, unsafe.Offsetof(m.ExitCode))
		e.Signal = binary.LittleEndian.Uint16(record[unsafe.Offsetof(m.Signal):])
		e.CoreDumped = record[unsafe.Offsetof(m.CoreDumped)] != 0
		e.GroupDead = record[unsafe.Offsetof(m.GroupDead)] != 0
		e.KernelStack, e.UserStack, _ = decodeStacks(record[unsafe.Offsetof(m.KernelStack):])
	}
	return e, nil
}

// decodeStacks decodes the stack ids at the start of b, if b is long enough to have them, and
// returns the bytes after them.
func decodeStacks(b []byte) (kernel, user int32, rest []byte) {
	if len(b) < 8 {
		return noStack, noStack, b
	}
	return int32(u32(b, 0)), int32(u32(b, 4)), b[8:]
}

// decodeCommon decodes the fields with which records of all types except Ack begin. A fork record
// has only these.
func decodeCommon(record []byte) Event {
	var m bpfForkEvent
	comm := record[unsafe.Offsetof(m.Comm):][:len(m.Comm)]
	return Event{
		KernelStack: noStack, UserStack: noStack,
		Type:      Type(u32(record, unsafe.Offsetof(m.Type))),
		CPU:       u32(record, unsafe.Offsetof(m.Cpu)),
		PID:       u32(record, unsafe.Offsetof(m.Pid)),
		TGID:      u32(record, unsafe.Offsetof(m.Tgid)),
		PPID:      u32(record, unsafe.Offsetof(m.Ppid)),
		UID:       u32(record, unsafe.Offsetof(m.Uid)),
		Ktime:     u64(record, unsafe.Offsetof(m.Ktime)),
		StartTime: u64(record, unsafe.Offsetof(m.StartTime)),
		CgroupID:  u64(record, unsafe.Offsetof(m.CgroupId)),
		Comm:      cString(comm),
	}
}

func u32(b []byte, off uintptr) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
func u64(b []byte, off uintptr) uint64 { return binary.LittleEndian.Uint64(b[off:]) }

// cString returns b up to its first NUL.
func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
