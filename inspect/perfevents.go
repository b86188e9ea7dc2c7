package inspect

import (
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/syscall"
)

// perfEventFile is the name of a perf event's file (kernel/events/core.c).
const perfEventFile = "anon_inode:[perf_event]"

// taskFDTypes names the types of enum bpf_task_fd_type.
var taskFDTypes = map[uint32]string{
	syscall.TaskFDRawTracepoint: "raw_tracepoint",
	syscall.TaskFDTracepoint:    "tracepoint",
	syscall.TaskFDKprobe:        "kprobe",
	syscall.TaskFDKretprobe:     "kretprobe",
	syscall.TaskFDUprobe:        "uprobe",
	syscall.TaskFDUretprobe:     "uretprobe",
}

// addPerfEvents adds the programs that processes attached to perf events with ioctl(2), the only way before
// BPF links for them (Linux 5.15). Of links, it says what the kernel does not tell before Linux 6.6. It skips processes that it cannot read.
func (p *places) addPerfEvents() {
	if !p.any(ebpf.Kprobe, ebpf.TracePoint, ebpf.PerfEvent) {
		return // reading the descriptors of all processes is slow
	}
	linked := map[ebpf.ProgramID]bool{} // programs attached by BPF links, whose perf events are found here too
	for id := range p.at {
		linked[id] = true
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, path := range fds {
		if target, err := os.Readlink(path); err != nil || target != perfEventFile {
			continue
		}
		fd, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		if err != nil {
			continue
		}
		event, err := syscall.QueryTaskFD(pid, fd)
		if err != nil {
			continue // no program is attached, or the process closed it
		}
		a := Attachment{Type: taskFDTypes[event.Type], Target: place(event.Name, event.Offset, event.Address)}
		if id := ebpf.ProgramID(event.Program); linked[id] {
			p.specify(id, a)
		} else {
			p.add(id, a)
		}
	}
}

// specify says of a link to a perf event what is known of the event. Different events of one program are told of
// different links.
func (p *places) specify(id ebpf.ProgramID, event Attachment) {
	at := p.at[id]
	for i := range at {
		if at[i].Type == event.Type && at[i].Target == event.Target {
			return
		}
	}
	for i := range at {
		if at[i].Type == perfEvent && at[i].Target == "" {
			at[i].Type, at[i].Target = event.Type, event.Target
			return
		}
	}
}
