package inspect

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// attachedTo returns where the only program that uses m is attached.
func attachedTo(t *testing.T, m *ebpf.Map) []Attachment {
	t.Helper()
	d, err := One(m, Options{SkipUsers: true, SkipPins: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Programs) != 1 {
		t.Fatalf("programs %+v", d.Programs)
	}
	for i := range d.Programs[0].Attached {
		d.Programs[0].Attached[i].Link = 0 // the test does not know the link's id
	}
	return d.Programs[0].Attached
}

func userOf(t *testing.T, m *ebpf.Map, spec ebpf.ProgramSpec) *ebpf.Program {
	t.Helper()
	spec.License = "GPL"
	spec.Instructions = asm.Instructions{asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Imm(asm.R0, 0), asm.Return()}
	p, err := ebpf.NewProgram(&spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestAProgramsRawTracepoint(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, 4096)
	p := userOf(t, m, ebpf.ProgramSpec{Type: ebpf.RawTracepoint})
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sched_process_exec", Program: p})
	if err != nil {
		t.Fatal(err)
	}
	want := []Attachment{{Type: "raw_tracepoint", Target: "sched_process_exec"}}
	if diff := gocmp.Diff(want, attachedTo(t, m)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if s := want[0].String(); s != "raw_tracepoint sched_process_exec" {
		t.Error(s)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff([]Attachment{}, attachedTo(t, m)); diff != "" {
		t.Errorf("afterwards, -want +got:\n%s", diff)
	}
	p.Close()
	m.Close()
}

func TestABTFTracepointIsNamed(t *testing.T) {
	m := testenv.Ring(t, 4096)
	p := userOf(t, m, ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sched_process_exec"})
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := attachedTo(t, m)
	// Kernels before 5.13 do not report the target of the link.
	if len(got) != 1 || !strings.Contains("tracing raw_tracepoint", got[0].Type) ||
		got[0].Target != "traceraw_tp btf_trace_sched_process_exec" && got[0].Target != "sched_process_exec" {
		t.Errorf("got %+v", got)
	}
}

func TestACgroupsProgram(t *testing.T) {
	dir, id := newCgroup(t)
	m := testenv.Ring(t, 4096)
	p := userOf(t, m, ebpf.ProgramSpec{Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress})
	l, err := link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: ebpf.AttachCGroupInetEgress, Program: p})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want := []Attachment{{Type: "cgroup", Target: fmt.Sprintf("cgroupinetegress of cgroup %d", id)}}
	if diff := gocmp.Diff(want, attachedTo(t, m)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Attach with BPF_PROG_ATTACH, the only way before BPF links for cgroups (Linux 5.7). systemd still uses it.
func TestACgroupsProgramWithoutALink(t *testing.T) {
	testenv.NoLeaks(t)
	dir, id := newCgroup(t)
	m := testenv.Ring(t, 4096)
	p := userOf(t, m, ebpf.ProgramSpec{Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress})
	cgroup, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer cgroup.Close()
	opts := link.RawAttachProgramOptions{Target: int(cgroup.Fd()), Program: p, Attach: ebpf.AttachCGroupInetEgress}
	if err := link.RawAttachProgram(opts); err != nil {
		t.Fatal(err)
	}
	want := []Attachment{{Type: "cgroup", Target: fmt.Sprintf("cgroupinetegress of cgroup %d", id)}}
	if diff := gocmp.Diff(want, attachedTo(t, m)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	p.Close()
	m.Close()
}

// newCgroup creates a cgroup, which is removed at the end of the test, and returns its path and id.
func newCgroup(t *testing.T) (dir string, id uint64) {
	t.Helper()
	root, err := cgroup2Root()
	if err != nil {
		testenv.SkipWithout(t, "cgroup2", err)
	}
	if dir, err = os.MkdirTemp(root, "rbtool-test-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return dir, st.Ino
}

// Attach with ioctl(2), the only way before BPF links for perf events (Linux 5.15).
func TestAPerfEventWithoutALink(t *testing.T) {
	testenv.NoLeaks(t)
	text, err := os.ReadFile("/sys/kernel/tracing/events/sched/sched_process_exec/id")
	if err != nil {
		testenv.SkipWithout(t, "tracefs", err)
	}
	config, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	m := testenv.Ring(t, 4096)
	p := userOf(t, m, ebpf.ProgramSpec{Type: ebpf.TracePoint})
	for cpu := range runtime.NumCPU() {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: config, Sample_type: unix.PERF_SAMPLE_RAW, Sample: 1, Wakeup: 1}
		fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, p.FD()); err != nil && cpu == 0 {
			t.Fatal(err)
		}
	}
	want := []Attachment{{Type: "tracepoint", Target: "sched_process_exec"}}
	if diff := gocmp.Diff(want, attachedTo(t, m)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	p.Close()
	m.Close()
}
