package proctrace

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOrder runs many short processes from several threads, and checks every record of every
// process on the host.
func TestOrder(t *testing.T) { eachCopies(t, testOrder) }

func testOrder(t *testing.T, copies uint32) {
	n := 20_000
	if testing.Short() {
		n = 100
	}
	tr := traceWith(t, Options{}, copies)
	attached := boottime(t)
	program := exits(t)
	pids := spawn(t, program, n)
	stats, err := tr.Stats()
	if err != nil {
		t.Fatal(err)
	}
	events := drain(t, tr)
	if lost := lost(total(stats)); lost != 0 {
		t.Fatalf("%d events lost: %+v", lost, stats)
	}

	whole := follow(t, events, attached, 0)
	for pid, want := range pids {
		if got := whole[life{pid, uint32(os.Getpid()), program}]; got != want {
			t.Errorf("pid %d: %d whole lives in the ring, want %d", pid, got, want)
		}
	}
	t.Logf("%d processes, %d events; %d times earlier than that of the record before", n, len(events), inversions(events))
}

// spawn runs the program n times, four at a time, and returns how often each pid was used.
func spawn(t *testing.T, program string, n int) map[uint32]int {
	t.Helper()
	const workers = 4
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		pids = make(map[uint32]int)
	)
	for w := range workers {
		wg.Go(func() {
			for range (n + w) / workers {
				pid, err := syscall.ForkExec(program, []string{"true"}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				var status syscall.WaitStatus
				if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status != 0 {
					t.Errorf("wait for %d: status %d, %v", pid, status, err)
				}
				mu.Lock()
				pids[uint32(pid)]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return pids
}

// exits returns the path of a program named true that only exits. The system's true is linked
// dynamically: an emulated processor would spend most of the test in the linker.
func exits(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		return "/bin/true"
	}
	const base = 0x400000
	code := []byte{
		0x31, 0xff, // xor edi, edi
		0xb8, unix.SYS_EXIT_GROUP, 0, 0, 0, // mov eax, SYS_exit_group
		0x0f, 0x05, // syscall
	}
	segment := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Align: 0x1000}
	header := elf.Header64{
		Ident:   [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:    uint16(elf.ET_EXEC),
		Machine: uint16(elf.EM_X86_64),
		Version: uint32(elf.EV_CURRENT),
		Phnum:   1,
	}
	start := binary.Size(header) + binary.Size(segment)
	header.Ehsize, header.Phentsize = uint16(binary.Size(header)), uint16(binary.Size(segment))
	header.Phoff, header.Entry = uint64(header.Ehsize), base+uint64(start)
	segment.Filesz = uint64(start + len(code))
	segment.Memsz = segment.Filesz

	path := filepath.Join(t.TempDir(), "true")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	for _, part := range []any{header, segment, code} {
		if err == nil {
			err = binary.Write(file, binary.LittleEndian, part)
		}
	}
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// life describes an ended process: its pid, its parent, and the program that it executed.
type life struct {
	tgid, ppid uint32
	filename   string
}

// process is the state of a process after its records so far.
type process struct {
	threads map[uint32]bool // living threads, by pid
	life    life
	dead    bool
}

// follow checks that the records of each process are in the order of its life, and complete if it
// started after the time attached. As many processes as missed may lack the fork. It returns the number of
// ended processes for each life.
func follow(t *testing.T, events []Event, attached, missed uint64) map[life]int {
	t.Helper()
	type identity struct {
		tgid  uint32
		start uint64
	}
	processes := make(map[identity]*process)
	whole := make(map[life]int)
	forkless := make(map[identity]bool)
	for i, e := range events {
		id := identity{e.TGID, e.StartTime}
		p := processes[id]
		if e.Type == Fork && !isThread(e) {
			if p != nil {
				t.Errorf("record %d: second fork of %v: %+v", i, id, e)
			}
			processes[id] = &process{threads: map[uint32]bool{e.PID: true}, life: life{tgid: e.TGID, ppid: e.PPID}}
			continue
		}
		if p == nil {
			if e.StartTime > attached {
				forkless[id] = true
				if uint64(len(forkless)) > missed {
					t.Errorf("record %d: no fork before it, %d forks missed: %+v", i, missed, e)
				}
			}
			continue // started before the tracer was attached
		}
		switch {
		case e.Type == Fork:
			if p.dead || p.threads[e.PID] {
				t.Errorf("record %d: thread of a dead process, or twice: %+v", i, e)
			}
			p.threads[e.PID] = true
		case e.Type == Exec:
			if p.dead || isThread(e) || !p.threads[e.OldPID] {
				t.Errorf("record %d: exec of a dead process or an unknown thread: %+v", i, e)
			}
			p.threads = map[uint32]bool{e.PID: true}
			p.life.filename = e.Filename
		case e.Type == Exit:
			// A thread without a fork event is an io_uring worker; a leader always has one.
			if !isThread(e) && !p.threads[e.PID] {
				t.Errorf("record %d: second exit of the leader: %+v", i, e)
			}
			delete(p.threads, e.PID)
			if e.GroupDead {
				if p.dead {
					t.Errorf("record %d: process ends twice: %+v", i, e)
				}
				p.dead = true
				whole[p.life]++
			}
		}
	}
	return whole
}

// inversions returns the number of records whose time is earlier than that of the record before.
func inversions(events []Event) int {
	var n int
	for i := 1; i < len(events); i++ {
		if events[i].Ktime < events[i-1].Ktime {
			n++
		}
	}
	return n
}
