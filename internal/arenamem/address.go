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

// The range of the windows for new arenas. Below it are the heaps of Go and C programs and the shadow of
// the address sanitizer (up to 0x10007fff8000); above it that of the thread sanitizer, which Go's race
// detector uses (from 0x200000000000), and far above programs and libraries.
const (
	FirstWindow = 0x1100_0000_0000
	lastWindow  = 0x1fff_0000_0000
)

// windowTries bounds the windows to try.
const windowTries = 256

// FreeWindow returns the address of a window without mappings in this process and without another arena.
// It picks at random, so that arenas of different processes can be mapped into one.
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
	return 0, fmt.Errorf("find a free Window: %d of them are taken: %w", windowTries, ErrAddressTaken)
}

// arenaWindows returns the windows of the host's arenas, or none without CAP_SYS_ADMIN.
func arenaWindows() map[uint64]bool {
	taken := map[uint64]bool{}
	var id ebpf.MapID
	for {
		next, err := ebpf.MapGetNextID(id)
		if err != nil {
			return taken // the end, or no CAP_SYS_ADMIN
		}
		id = next
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, unix.EPERM) {
			return taken
		}
		if err != nil {
			continue // removed meanwhile
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

// overlap returns the lines of the regions that overlap base to base+size.
func overlap(regions []region, base, size uint64) []string {
	var lines []string
	for _, r := range regions {
		if r.start < base+size && base < r.end {
			lines = append(lines, r.line)
		}
	}
	return lines
}

// Overlapping returns the lines of /proc/self/maps for the mappings that overlap base to base+size.
func Overlapping(base, size uint64) []string {
	regions, err := readMaps()
	if err != nil {
		return nil
	}
	return overlap(regions, base, size)
}

// Address returns the user address of an arena, or 0 if it has none yet: it was created without one and
// never mapped. The map's info does not have an address that came with the first mapping, but a program
// that refers to byte 0 of the map does (kernel/bpf/arena.c, arena_map_direct_value_addr).
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
		// Without an address there is no byte 0, or the verifier refuses the program.
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
