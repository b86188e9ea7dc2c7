package syscall

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// progLoadAttr is the member of union bpf_attr for BPF_PROG_LOAD
// (include/uapi/linux/bpf.h), without the fields at its end that are not used.
type progLoadAttr struct {
	progType           uint32
	insnCnt            uint32
	insns              unsafe.Pointer
	license            unsafe.Pointer
	logLevel           uint32
	logSize            uint32
	logBuf             unsafe.Pointer
	kernVersion        uint32
	progFlags          uint32
	progName           [unix.BPF_OBJ_NAME_LEN]byte
	progIfindex        uint32
	expectedAttachType uint32
	progBTFFD          uint32
	funcInfoRecSize    uint32
	funcInfo           unsafe.Pointer
	funcInfoCnt        uint32
	lineInfoRecSize    uint32
	lineInfo           unsafe.Pointer
	lineInfoCnt        uint32
	attachBTFID        uint32
	attachBTFObjFD     uint32
	coreReloCnt        uint32
	fdArray            unsafe.Pointer
	coreRelos          unsafe.Pointer
	coreReloRecSize    uint32
	logTrueSize        uint32
}

// Sizes of the buffer for the verifier's log, in bytes: that of the first attempt, and
// the maximum that the kernel accepts (kernel/bpf/log.c, bpf_verifier_log_attr_valid).
const (
	minLogSize = 64 << 10
	maxLogSize = 1<<30 - 1
)

// maxInterrupted bounds how often a load that a signal interrupted is repeated. The Go
// runtime sends signals to preempt goroutines.
const maxInterrupted = 30

// LoadError reports why the kernel refused a program. It wraps an
// [ebpf.VerifierError] with the verifier's complete log.
type LoadError struct {
	Program string
	Err     *ebpf.VerifierError
}

// Error returns the program's name, the errno and the last two lines of the log.
func (e *LoadError) Error() string {
	log := e.Err.Log
	if n := len(log); n > 0 && strings.HasPrefix(log[n-1], "processed ") {
		log = log[:n-1]
	}
	text := fmt.Sprintf("load program %s: %v", e.Program, e.Err.Cause)
	// The last line names the fault, and the line before it the instruction.
	for _, line := range log[max(len(log)-2, 0):] {
		text += ": " + strings.TrimSpace(line)
	}
	return text
}

func (e *LoadError) Unwrap() error { return e.Err }

// load calls BPF_PROG_LOAD. If the caller did not ask for a log, it first loads without
// a log, and repeats the load with a log if that fails. It returns a descriptor and the
// log.
func (a *progLoadAttr) load(opts ebpf.ProgramOptions) (fd int, log string, err error) {
	a.logLevel = uint32(opts.LogLevel)
	a.logSize = 0
	if a.logLevel != 0 && !opts.LogDisabled {
		a.logSize = min(max(opts.LogSizeStart, minLogSize), maxLogSize)
	}
	for {
		var buf []byte
		a.logBuf = nil
		if a.logSize > 0 {
			buf = make([]byte, a.logSize)
			a.logBuf = unsafe.Pointer(unsafe.SliceData(buf))
		}
		fd, err = a.call()
		log, _, _ = strings.Cut(string(buf), "\x00")
		switch {
		case err == nil, opts.LogDisabled, a.logSize == maxLogSize:
			return fd, log, err
		case errors.Is(err, unix.ENOSPC) && a.logSize > 0:
			a.logSize = min(max(2*a.logSize, a.logTrueSize), maxLogSize)
		case a.logSize == 0:
			a.logLevel = uint32(ebpf.LogLevelBranch)
			a.logSize = max(opts.LogSizeStart, minLogSize)
		default:
			return fd, log, err
		}
	}
}

// call makes the system call.
//
// SAFETY: the kernel accesses only the memory that the pointers in a point to, up to the
// sizes in a. The pointers keep this memory alive, and a is alive until the call returns.
func (a *progLoadAttr) call() (int, error) {
	for try := 0; ; try++ {
		fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(a)), unsafe.Sizeof(*a))
		runtime.KeepAlive(a)
		if errno == 0 {
			return int(fd), nil
		}
		if errno != unix.EAGAIN || try == maxInterrupted {
			return -1, errno
		}
	}
}

// setName sets the program's name, without the characters that the kernel does not accept
// (kernel/bpf/syscall.c, bpf_obj_name_cpy).
func (a *progLoadAttr) setName(name string) {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.':
			return r
		}
		return -1
	}, name)
	copy(a.progName[:len(a.progName)-1], clean)
}

// verifierError returns the error that cilium/ebpf would return for this errno and log.
func verifierError(err error, log string) *ebpf.VerifierError {
	var lines []string
	if log = strings.Trim(log, "\t\r\v\n "); log != "" {
		for line := range strings.SplitSeq(log, "\n") {
			lines = append(lines, strings.TrimRight(line, "\t\r\v "))
		}
	}
	return &ebpf.VerifierError{Cause: err, Log: lines}
}

// cString returns s with a final NUL.
func cString(s string) []byte { return append([]byte(s), 0) }

// records returns the address of a copy of b, or nil if b is empty, and the number of
// records of size bytes in b.
func records(b []byte, size uint32) (unsafe.Pointer, uint32) {
	if len(b) == 0 {
		return nil, 0
	}
	return unsafe.Pointer(unsafe.SliceData(bytes.Clone(b))), uint32(len(b)) / size
}
