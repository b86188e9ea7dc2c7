package inspect

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("RBTOOL_TEST_ROLE"); role != "" {
		os.Exit(play(role, strings.Fields(os.Getenv("RBTOOL_TEST_MAPS"))))
	}
	os.Exit(testenv.Main(m))
}

// command returns a command for this test binary in a role, with the maps.
func command(t *testing.T, role string, maps []*ebpf.Map) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	var fds []string
	for i, m := range maps {
		dup, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(dup), "map")
		t.Cleanup(func() { f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		fds = append(fds, fmt.Sprint(3+i))
	}
	cmd.Env = append(os.Environ(), "RBTOOL_TEST_ROLE="+role, "RBTOOL_TEST_MAPS="+strings.Join(fds, " "))
	return cmd
}

// actor is a process that uses maps in a role, see use.
type actor struct {
	pid int
	end func()
}

// start starts this test binary as a process that uses the maps in a role, and waits until the
// process uses them. The process ends with the test, or when actor.end is called.
func start(t *testing.T, role string, maps ...*ebpf.Map) actor {
	t.Helper()
	cmd := command(t, role, maps)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			stdin.Close()
			cmd.Wait()
		}
	}
	t.Cleanup(end)
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%s: %q, %v", role, line, err)
	}
	return actor{cmd.Process.Pid, end}
}

// play uses maps in a role until standard input ends.
func play(role string, fds []string) int {
	var maps []*ebpf.Map
	for _, text := range fds {
		var fd int
		fmt.Sscan(text, &fd)
		m, err := ebpf.NewMapFromFD(fd)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		maps = append(maps, m)
	}
	if role, ok := strings.CutPrefix(role, "nobody: "); ok {
		fmt.Println(unprivileged(role, maps))
		return 0
	}
	if role, ok := strings.CutPrefix(role, "count: "); ok {
		answer, err := count(role, maps)
		if err != nil {
			answer = err.Error()
		}
		fmt.Println(answer)
		return 0
	}
	if err := use(role, maps); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	for _, m := range maps {
		m.Close() // also keeps the maps alive until here
	}
	return 0
}

// use uses maps in a role.
func use(role string, maps []*ebpf.Map) (err error) {
	m, page := maps[0], os.Getpagesize()
	data := page + 2*int(m.MaxEntries())
	mmap := func(fd, offset, length, prot int) {
		if _, e := unix.Mmap(fd, int64(offset), length, prot, unix.MAP_SHARED); e != nil {
			err = fmt.Errorf("%s: mmap: %w", role, e)
		}
	}
	const ro, rw = unix.PROT_READ, unix.PROT_READ | unix.PROT_WRITE
	switch role {
	case "hold":
	case "consume": // with the Reader of cilium/ebpf
		_, err = ringbuf.NewReader(m)
	case "read": // like consume, and read records until the process ends
		var rd *ringbuf.Reader
		if rd, err = ringbuf.NewReader(m); err == nil {
			go func() {
				var rec ringbuf.Record
				for rd.ReadInto(&rec) == nil {
				}
			}()
		}
	case "keep the mapping":
		mmap(m.FD(), 0, page, rw)
		mmap(m.FD(), page, data, ro)
		m.Close()
	case "observe":
		mmap(m.FD(), 0, page+data, ro)
	case "consume the first of several":
		_, err = ringbuf.NewReader(m)
	case "consume all of several":
		for _, m := range maps {
			if _, e := ringbuf.NewReader(m); e != nil {
				err = e
			}
		}
	case "produce": // with the mappings that user_ring_buffer__new of libbpf makes
		mmap(m.FD(), 0, page, ro)
		mmap(m.FD(), page, data, rw)
	case "map globals":
		mmap(maps[1].FD(), 0, page, rw)
	case "map an arena":
		base := uintptr(1 << 44)
		length := uintptr(m.MaxEntries()) * uintptr(page)
		_, _, errno := unix.Syscall6(unix.SYS_MMAP, base, length, rw, unix.MAP_SHARED|unix.MAP_FIXED_NOREPLACE, uintptr(m.FD()), 0)
		if errno != 0 {
			err = errno
		}
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	return err
}

// asNobody runs a role in a process without capabilities that holds the maps, and returns its
// output.
func asNobody(t *testing.T, role string, maps ...*ebpf.Map) string {
	t.Helper()
	return asNobodyWith(t, nil, role, maps...)
}

// asNobodyWith is asNobody with the given capabilities.
func asNobodyWith(t *testing.T, caps []uintptr, role string, maps ...*ebpf.Map) string {
	t.Helper()
	cmd := command(t, "nobody: "+role, maps)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: caps}
	out, err := cmd.Output()
	if err != nil {
		t.Logf("%s: %v", role, err)
	}
	return string(out)
}

// refersTo loads a program that refers to m.
func refersTo(t *testing.T, m *ebpf.Map) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "refers",
		Type: ebpf.RawTracepoint,
		Instructions: asm.Instructions{
			asm.LoadMapPtr(asm.R1, m.FD()),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
		License: "GPL",
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
