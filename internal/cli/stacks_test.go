package cli

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

// exitsAtOnce writes a program that only calls exit_group(0). Like a program that the Go linker writes,
// it has a build id that no PT_NOTE segment covers, and a function (first) at a fixed address.
func exitsAtOnce(t *testing.T, path string) {
	t.Helper()
	testenv.WriteELF(t, path, []byte{1, 2, 3}, "first")
	machine, code := elf.EM_X86_64, []byte{
		0xb8, 0xe7, 0, 0, 0, // mov $231, %eax
		0x31, 0xff, // xor %edi, %edi
		0x0f, 0x05, // syscall
	}
	if runtime.GOARCH == "arm64" {
		machine, code = elf.EM_AARCH64, []byte{
			0xc8, 0x0b, 0x80, 0xd2, // mov x8, #94
			0, 0, 0x80, 0xd2, // mov x0, #0
			1, 0, 0, 0xd4, // svc #0
		}
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint16(program[18:], uint16(machine))  // e_machine
	binary.LittleEndian.PutUint64(program[24:], testenv.CodeAddr) // e_entry
	copy(program[testenv.CodeOffset:], code)
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

// If the kernel finds no build id for a file, its frames still have names. Here the process has ended,
// so the file is found by the path in its exec event, which the filter of tail may leave out.
func TestStacksWithoutABuildIDAreNamed(t *testing.T) {
	dir := filepath.Join(testenv.BPFFS(t), "t")
	if err := rbtool(t, "probe", "proctrace", "start", "--stacks", "--size", "1MiB", "--pin-dir", dir).Run(); err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { rbtool(t, "probe", "proctrace", "stop", "--pin-dir", dir).Run() })
	program := filepath.Join(t.TempDir(), "program")
	exitsAtOnce(t, program)
	for _, event := range []string{"exec_event", "exit_event"} {
		if err := exec.Command(program).Run(); err != nil {
			t.Fatal(err)
		}
		filter := `type == "` + event + `" && comm == "program"`
		out, err := rbtool(t, "tail", filepath.Join(dir, "events"), "-o", "json", "--filter", filter, "--idle", "200ms", "--for", "10s").Output()
		if err != nil {
			t.Fatal(err)
		}
		var record struct {
			Stacks struct {
				User    []string
				Missing string `json:"user_missing"`
			}
		}
		if err := json.NewDecoder(bytes.NewReader(out)).Decode(&record); err != nil {
			t.Fatalf("%s: %v\n%s", event, err, out)
		}
		s := record.Stacks
		if s.Missing != "" { // the stack was lost, or the process had released its memory before the exit event (kernels before 6.16)
			t.Logf("%s: %s", event, s.Missing)
			continue
		}
		if len(s.User) == 0 || !strings.HasPrefix(s.User[0], "first+0x") || !strings.HasSuffix(s.User[0], " (program, by its path)") {
			t.Errorf("%s: %q", event, s.User)
		}
	}
}
