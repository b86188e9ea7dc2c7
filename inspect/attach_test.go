package inspect

import (
	"os"
	"path/filepath"
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
	m := testenv.Ring(t, testenv.PageSize)
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
	m := testenv.Ring(t, testenv.PageSize)
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
	dir := newCgroup(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := userOf(t, m, ebpf.ProgramSpec{Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress})
	l, err := link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: ebpf.AttachCGroupInetEgress, Program: p})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want := []Attachment{{Type: "cgroup", Target: "cgroupinetegress of cgroup /" + filepath.Base(dir)}}
	if diff := gocmp.Diff(want, attachedTo(t, m)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Attach with BPF_PROG_ATTACH, the only way before BPF links for cgroups (Linux 5.7). systemd still uses it.
func TestACgroupsProgramWithoutALink(t *testing.T) {
	testenv.NoLeaks(t)
	dir := newCgroup(t)
	m := testenv.Ring(t, testenv.PageSize)
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
	want := []Attachment{{Type: "cgroup", Target: "cgroupinetegress of cgroup /" + filepath.Base(dir)}}
	if diff := gocmp.Diff(want, attachedTo(t, m)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	p.Close()
	m.Close()
}

// newCgroup creates a cgroup, which is removed at the end of the test, and returns its path.
func newCgroup(t *testing.T) string {
	t.Helper()
	root, err := cgroup2Root()
	if err != nil {
		testenv.SkipWithout(t, "cgroup2", err)
	}
	dir, err := os.MkdirTemp(root, "rbtool-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	return dir
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
	m := testenv.Ring(t, testenv.PageSize)
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

func TestCgroupsAreNamed(t *testing.T) {
	dir := newCgroup(t)
	inner := filepath.Join(dir, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(inner) })
	c := newCgroupPaths()
	defer c.close()
	for path, name := range map[string]string{c.path: "/", dir: "/" + filepath.Base(dir), inner: "/" + filepath.Base(dir) + "/inner"} {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		if got := c.name(st.Ino); got != name {
			t.Errorf("%s, want %s", got, name)
		}
		if got := c.search(st.Ino); got != path {
			t.Errorf("searched: %q, want %s", got, path)
		}
	}
	const none = 1 << 60
	if got := c.name(none); got != strconv.Itoa(none) {
		t.Errorf("a cgroup that does not exist: %s", got)
	}
	if got := (&cgroupPaths{}).name(7); got != "7" {
		t.Errorf("without cgroup2: %s", got)
	}
}

func TestLinksOfOldKernelsAreSpecified(t *testing.T) {
	vague := func(id link.ID) Attachment { return Attachment{Link: id, Type: perfEvent} }
	p := places{at: map[ebpf.ProgramID][]Attachment{1: {vague(5), vague(6), {Link: 7, Type: "xdp"}}}}
	for range 2 { // an event for each CPU
		p.specify(1, Attachment{Type: "kprobe", Target: "do_exit"})
		p.specify(1, Attachment{Type: "uretprobe", Target: "/bin/sh+0x10"})
		p.specify(1, Attachment{Type: "tracepoint", Target: "more than links"})
	}
	want := []Attachment{{5, "kprobe", "do_exit"}, {6, "uretprobe", "/bin/sh+0x10"}, {7, "xdp", ""}}
	if diff := gocmp.Diff(want, p.at[1]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Each kind of probe is named, with the function, or the file and offset.
func TestProbesAreToldApart(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := link.OpenExecutable(path)
	if err != nil {
		t.Fatal(err)
	}
	at := &link.UprobeOptions{Address: 0x1000}
	for name, attach := range map[string]func(p *ebpf.Program) (link.Link, error){
		"kprobe do_exit":                func(p *ebpf.Program) (link.Link, error) { return link.Kprobe("do_exit", p, nil) },
		"kretprobe do_exit":             func(p *ebpf.Program) (link.Link, error) { return link.Kretprobe("do_exit", p, nil) },
		"uprobe " + path + "+0x1000":    func(p *ebpf.Program) (link.Link, error) { return exe.Uprobe("", p, at) },
		"uretprobe " + path + "+0x1000": func(p *ebpf.Program) (link.Link, error) { return exe.Uretprobe("", p, at) },
		"kprobe_multi 2 functions": func(p *ebpf.Program) (link.Link, error) {
			return link.KprobeMulti(p, link.KprobeMultiOptions{Symbols: []string{"do_exit", "vfs_read"}})
		},
		"kretprobe_multi 1 function": func(p *ebpf.Program) (link.Link, error) {
			return link.KretprobeMulti(p, link.KprobeMultiOptions{Symbols: []string{"do_exit"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := testenv.Ring(t, testenv.PageSize)
			spec, feature := ebpf.ProgramSpec{Type: ebpf.Kprobe}, "kprobe"
			if strings.Contains(name, "multi") {
				spec.AttachType, feature = ebpf.AttachTraceKprobeMulti, "kprobe-multi"
			}
			l, err := attach(userOf(t, m, spec))
			if err != nil {
				testenv.SkipWithout(t, feature, err)
			}
			defer l.Close()
			got := attachedTo(t, m)
			if len(got) != 1 || got[0].String() != name {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestTracepointsAndEventsAreToldApart(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	p := userOf(t, m, ebpf.ProgramSpec{Type: ebpf.TracePoint})
	l, err := link.Tracepoint("sched", "sched_process_exec", p, nil)
	if err != nil {
		testenv.SkipWithout(t, "tracefs", err)
	}
	defer l.Close()
	if got := attachedTo(t, m); len(got) != 1 || got[0].String() != "tracepoint sched_process_exec" {
		t.Errorf("%v", got)
	}

	m = testenv.Ring(t, testenv.PageSize)
	p = userOf(t, m, ebpf.ProgramSpec{Type: ebpf.PerfEvent})
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Sample: 1 << 30}
	fd, err := unix.PerfEventOpen(&attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	event, err := link.AttachRawLink(link.RawLinkOptions{Target: fd, Program: p, Attach: ebpf.AttachPerfEvent})
	if err != nil {
		testenv.SkipWithout(t, "perf-event-link", err)
	}
	defer event.Close()
	if got := attachedTo(t, m); len(got) != 1 || got[0].Type != "perf_event" || got[0].Target != "cpu-clock" && got[0].Target != "" {
		t.Errorf("%v", got)
	}
}
