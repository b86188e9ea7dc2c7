package proc

import (
	"bufio"
	"bytes"
	"iter"
	"os"
	"strconv"
)

// Mapping is a line of /proc/PID/maps (fs/proc/task_mmu.c, show_map_vma).
type Mapping struct {
	Start, End uint64 // addresses of the first byte and of the byte after the last
	Offset     uint64 // offset in the file of the byte at Start
	Writable   bool
	Executable bool

	// Path is the file's path relative to the process's root, a name such as "[stack]", or
	// empty. Line is the whole line. The next iteration overwrites both.
	Path, Line []byte
}

// Mappings iterates over the mappings of a process, by ascending address. dir is the process's
// directory in /proc. Mappings skips lines that it cannot parse and ends after the first error.
// It holds only one line in memory, since a process can have 65530 mappings (vm.max_map_count),
// each of a file with a path of 4 KiB.
func Mappings(dir string) iter.Seq2[Mapping, error] {
	return func(yield func(Mapping, error) bool) {
		file, err := os.Open(dir + "/maps")
		if err != nil {
			yield(Mapping{}, ended(err))
			return
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			if m, ok := parseMapping(lines.Bytes()); ok && !yield(m, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Mapping{}, ended(err))
		}
	}
}

// parseMapping parses a line such as
//
//	7f0e8c000000-7f0e8c028000 r-xp 00000000 08:01 131    /usr/lib/libc.so.6
func parseMapping(line []byte) (Mapping, bool) {
	addresses, rest, _ := bytes.Cut(line, []byte(" "))
	perms, rest, _ := bytes.Cut(rest, []byte(" "))
	offset, rest, _ := bytes.Cut(rest, []byte(" "))
	_, rest, _ = bytes.Cut(rest, []byte(" ")) // device
	inode, path, _ := bytes.Cut(rest, []byte(" "))
	start, end, _ := bytes.Cut(addresses, []byte("-"))
	if len(perms) != len("rwxp") || len(inode) == 0 {
		return Mapping{}, false
	}
	m := Mapping{Writable: perms[1] == 'w', Executable: perms[2] == 'x', Path: bytes.TrimLeft(path, " "), Line: line}
	for _, f := range []struct {
		to   *uint64
		text []byte
	}{{&m.Start, start}, {&m.End, end}, {&m.Offset, offset}} {
		var err error
		if *f.to, err = strconv.ParseUint(string(f.text), 16, 64); err != nil {
			return Mapping{}, false
		}
	}
	return m, m.Start <= m.End
}
