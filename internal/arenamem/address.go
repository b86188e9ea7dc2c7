package arenamem

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Windows of 4 GiB are picked from this range. Below it lie the heaps of Go and of C
// programs and the address sanitizer's shadow (up to 0x10007fff8000), above it
// the thread sanitizer's, on which Go's race detector builds (from
// 0x200000000000), and far above programs and libraries.
const (
	FirstWindow = 0x1100_0000_0000
	lastWindow  = 0x1fff_0000_0000
)

// windowTries is how many windows are looked at: with so many taken, something is wrong.
const windowTries = 256

// FreeWindow picks the address of a Window in which this process has nothing mapped
// and no other arena lies. It picks at random, so that arenas that know nothing of
// each other can still be mapped into one process.
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

// arenaWindows are the windows of the host's arenas: none where this process may
// not see them.
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
			continue // it went away
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

// region is a line of /proc/self/maps.
type region struct {
	start, end uint64
	line       string
}

func readMaps() ([]region, error) {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("find out what is mapped: %w", err)
	}
	var regions []region
	for line := range strings.Lines(string(text)) {
		r := region{line: strings.Join(strings.Fields(line), " ")}
		if _, err := fmt.Sscanf(line, "%x-%x ", &r.start, &r.end); err != nil {
			return nil, fmt.Errorf("parse /proc/self/maps: %q: %w", r.line, err)
		}
		regions = append(regions, r)
	}
	return regions, nil
}

// overlap returns the lines for what lies between base and base+size.
func overlap(regions []region, base, size uint64) []string {
	var lines []string
	for _, r := range regions {
		if r.start < base+size && base < r.end {
			lines = append(lines, r.line)
		}
	}
	return lines
}

// Overlapping returns the lines of /proc/self/maps for what lies there now.
func Overlapping(base, size uint64) []string {
	regions, err := readMaps()
	if err != nil {
		return nil
	}
	return overlap(regions, base, size)
}

// Address returns the user address of an arena: 0 when it has none yet. The
// address that the kernel gave to the first mapping is not in the map's info, but
// a program that refers to byte 0 of the map has it in an instruction
// (kernel/bpf/arena.c, arena_map_direct_value_addr).
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

// askAddress runs a program that returns 32 bits of the address.
func askAddress(m *ebpf.Map, shift ...asm.Instruction) (uint32, error) {
	insns := append(asm.Instructions{asm.LoadMapValue(asm.R0, m.FD(), 0)}, shift...)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "rbtool_address", Type: ebpf.Syscall, Flags: unix.BPF_F_SLEEPABLE, License: "GPL",
		Instructions: append(insns, asm.Return()),
	})
	switch {
	case errors.Is(err, unix.ERANGE), errors.Is(err, unix.EINVAL):
		// Without an address there is no byte 0, or the verifier says: arena's
		// user address must be set via map_extra or mmap().
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("ask for the arena's address: %w", err)
	}
	defer prog.Close()
	ret, err := prog.Run(&ebpf.RunOptions{})
	if err != nil {
		return 0, fmt.Errorf("ask for the arena's address: %w", err)
	}
	return ret, nil
}
