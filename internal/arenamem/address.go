package arenamem

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/proc"
)

// The addresses of the first and the last window for new arenas. Below them are the heaps of Go and C
// programs and the shadow memory of the address sanitizer (up to 0x10007fff8000). Above them are the
// shadow memory of the thread sanitizer, which Go's race detector uses (from 0x200000000000), and
// programs and libraries.
const (
	FirstWindow = 0x1100_0000_0000
	lastWindow  = 0x1fff_0000_0000
)

// windowTries is the number of windows that FreeWindow tries.
const windowTries = 256

// FreeWindow returns the address of a window in which this process has no mapping and the host has no
// arena. It picks at random, so that arenas of different processes can later be mapped into one process.
func FreeWindow() (uint64, error) {
	taken := arenaWindows()
	mapped, err := readMaps()
	if err != nil {
		return 0, err
	}
	for range windowTries {
		base := FirstWindow + rand.Uint64N((lastWindow-FirstWindow)/Window+1)*Window
		if !taken[base/Window] && len(overlap(mapped, base, Window)) == 0 {
			return base, nil
		}
	}
	return 0, fmt.Errorf("find a free window: all %d windows tried are in use: %w", windowTries, ErrAddressTaken)
}

// arenaWindows returns the numbers of the windows of all arenas on the host. Without CAP_SYS_ADMIN, the
// result is empty.
func arenaWindows() map[uint64]bool {
	taken := map[uint64]bool{}
	var id ebpf.MapID
	for {
		next, err := ebpf.MapGetNextID(id)
		if err != nil {
			return taken // no more maps, or no CAP_SYS_ADMIN
		}
		id = next
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, unix.EPERM) {
			return taken
		}
		if err != nil {
			continue // the map was removed meanwhile
		}
		if m.Type() == ebpf.Arena {
			if info, err := m.Info(); err == nil {
				extra, _ := info.MapExtra()
				taken[extra/Window] = true
			}
		}
		m.Close()
	}
}

// region is a mapping: a line of /proc/self/maps.
type region struct {
	start, end uint64
	line       string
}

func readMaps() ([]region, error) {
	var regions []region
	for m, err := range proc.Mappings("/proc/self") {
		if err != nil {
			return nil, fmt.Errorf("read mappings: %w", err)
		}
		line := strings.Join(strings.Fields(string(m.Line)), " ")
		regions = append(regions, region{m.Start, m.End, line})
	}
	return regions, nil
}

// overlap returns the lines of the regions that overlap the addresses from base to base+size.
func overlap(regions []region, base, size uint64) []string {
	var lines []string
	for _, r := range regions {
		if r.start < base+size && base < r.end {
			lines = append(lines, r.line)
		}
	}
	return lines
}

// Overlapping returns the lines of /proc/self/maps for the mappings that overlap the addresses from base
// to base+size.
func Overlapping(base, size uint64) []string {
	regions, err := readMaps()
	if err != nil {
		return nil
	}
	return overlap(regions, base, size)
}

// Address returns the user address of an arena, or 0 if the arena was created without an address and
// never mapped. If the first mapping fixed the address, the map's info lacks it. A program that refers to
// byte 0 of the map still gets it (kernel/bpf/arena.c, arena_map_direct_value_addr).
func Address(m *ebpf.Map) (uint64, error) {
	info, err := m.Info()
	if err != nil {
		return 0, err
	}
	if base, ok := info.MapExtra(); ok && base != 0 {
		return base, nil
	}
	upper, err := askAddress(m, asm.RSh.Imm(asm.R0, 32))
	if upper == 0 || err != nil {
		return 0, err
	}
	lower, err := askAddress(m, asm.LSh.Imm(asm.R0, 32), asm.RSh.Imm(asm.R0, 32))
	return uint64(upper)<<32 | uint64(lower), err
}

// askAddress runs a program that returns 32 bits of the address, selected by shift.
func askAddress(m *ebpf.Map, shift ...asm.Instruction) (uint32, error) {
	insns := append(asm.Instructions{asm.LoadMapValue(asm.R0, m.FD(), 0)}, shift...)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "rbtool_address", Type: ebpf.Syscall, Flags: unix.BPF_F_SLEEPABLE, License: "GPL",
		Instructions: append(insns, asm.Return()),
	})
	switch {
	case errors.Is(err, unix.ERANGE), errors.Is(err, unix.EINVAL):
		// The arena has no address yet: the kernel finds no byte 0, or the verifier refuses the program.
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("query the arena's address: %w", err)
	}
	defer prog.Close()
	ret, err := prog.Run(&ebpf.RunOptions{})
	if err != nil {
		return 0, fmt.Errorf("query the arena's address: %w", err)
	}
	return ret, nil
}
