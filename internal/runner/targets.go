package runner

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/kallsyms"
	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/near"
)

// tracefsRoots are where tracefs is mounted.
var tracefsRoots = []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}

// openTracefs opens a file of tracefs.
func openTracefs(name string) (f *os.File, err error) {
	for _, root := range tracefsRoots {
		if f, err = os.Open(path.Join(root, name)); err == nil {
			return f, nil
		}
	}
	return nil, err
}

func tracefsHas(name string) bool {
	return slices.ContainsFunc(tracefsRoots, func(root string) bool { return exists(path.Join(root, name)) })
}

// activeLSMs returns the security modules of the kernel. ok is false if it does not tell them.
func activeLSMs() (list string, ok bool) {
	b, err := os.ReadFile("/sys/kernel/security/lsm")
	return strings.TrimSpace(string(b)), err == nil
}

// traceableFunctions returns the functions that ftrace can attach to, or else all that the kernel names. Reading them takes up to
// a second in an emulator.
var traceableFunctions = sync.OnceValue(func() (names []string) {
	f, err := openTracefs("available_filter_functions")
	if err != nil {
		return kernelFunctions()
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, _, _ := strings.Cut(lines.Text(), " ")
		names = append(names, name)
	}
	return names
})

// kernelFunctions returns the functions that the kernel names.
var kernelFunctions = sync.OnceValue(func() (names []string) {
	f, err := os.Open(kallsyms.Path)
	if err != nil {
		return nil
	}
	defer f.Close()
	for fn, err := range kallsyms.Functions(f) {
		if err != nil {
			break
		}
		names = append(names, string(fn.Name))
	}
	return names
})

// matching returns the names that match a pattern with * and ?, each once.
func matching(pattern string, names []string) (found []string) {
	for _, name := range names {
		if ok, _ := path.Match(pattern, name); ok {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func noFunction(name string, known []string) error {
	if slices.Contains(kernelFunctions(), name) {
		return fmt.Errorf("the kernel cannot be traced at %s: %w (it is inlined elsewhere, excluded or blacklisted)", name, fs.ErrNotExist)
	}
	return fmt.Errorf("the kernel has no function %s: %w%s", name, fs.ErrNotExist, near.Hint(name, known))
}

// noTracepoint says why there is no tracepoint of this name.
func noTracepoint(err error, name string) error {
	known := events()
	if known == nil {
		return fmt.Errorf("tracepoints are unknown: %w (mount one: mount -t tracefs tracefs /sys/kernel/tracing)", err)
	}
	return fmt.Errorf("the kernel has no tracepoint %s: %w%s", name, fs.ErrNotExist, near.Hint(name, known))
}

// events returns the tracepoints of tracefs, as group/name.
func events() (names []string) {
	f, err := openTracefs("available_events")
	if err != nil {
		return nil
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		names = append(names, strings.Replace(lines.Text(), ":", "/", 1))
	}
	return names
}

func noRawTracepoint(name string) error {
	known := rawTracepoints()
	return fmt.Errorf("the kernel has no raw tracepoint %s: %w%s", name, fs.ErrNotExist, near.Hint(name, known))
}

// traced is the prefix of the typedefs that the kernel's BTF has for raw tracepoints (include/trace/bpf_probe.h).
const traced = "btf_trace_"

// rawTracepoints returns the raw tracepoints of the kernel, without those of modules.
func rawTracepoints() (names []string) {
	spec, err := kernelbtf.Cache().Kernel()
	if err != nil {
		return nil
	}
	for t, err := range spec.All() {
		if err != nil {
			break
		}
		if def, ok := t.(*btf.Typedef); ok {
			if name, ok := strings.CutPrefix(def.Name, traced); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// leaveOutAbsent removes the programs whose targets in the kernel's BTF do not exist: one of them would make the load of all
// fail. If no other program is left, it removes none, and the load fails.
func (o *Object) leaveOutAbsent() {
	var left []Left
	for name, p := range o.spec.Programs {
		if err := absent(parseSection(p.SectionName)); err != nil {
			left = append(left, Left{name, err})
		}
	}
	if len(left) == len(o.spec.Programs) {
		return
	}
	slices.SortFunc(left, func(a, b Left) int { return strings.Compare(a.Program, b.Program) })
	for _, l := range left {
		delete(o.spec.Programs, l.Program)
	}
	o.left = append(o.left, left...)
	o.forgetTailCalls()
}

// absent returns an error if the BTF of the kernel and its modules lacks the target of a program.
func absent(s section) error {
	var err error
	switch s.hook {
	case "tp_btf":
		if err = findInBTF(traced+s.target, new(*btf.Typedef)); err != nil {
			err = noRawTracepoint(s.target)
		}
	case "fentry", "fexit", "fmod_ret", "fsession":
		if err = findInBTF(s.target, new(*btf.Func)); err != nil {
			err = noFunction(s.target, traceableFunctions())
		}
	case "lsm":
		if err = findInBTF("bpf_lsm_"+s.target, new(*btf.Func)); err != nil {
			err = noHook(s.target)
		}
	case iteratorHook:
		if err = findInBTF("bpf_iter_"+s.target, new(*btf.Func)); err != nil {
			err = fmt.Errorf("the kernel has no iterator %s: %w%s", s.target, fs.ErrNotExist, near.Hint(s.target, functionsAfter("bpf_iter_")))
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return nil
}

func noHook(name string) error {
	return fmt.Errorf("the kernel has no LSM hook %s: %w%s", name, fs.ErrNotExist, near.Hint(name, functionsAfter("bpf_lsm_")))
}

// functionsAfter returns what follows a prefix in the names of the functions in the kernel's BTF.
func functionsAfter(prefix string) (names []string) {
	spec, err := kernelbtf.Cache().Kernel()
	if err != nil {
		return nil
	}
	for t, err := range spec.All() {
		if err != nil {
			break
		}
		if fn, ok := t.(*btf.Func); ok {
			if name, ok := strings.CutPrefix(fn.Name, prefix); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// findInBTF looks for a type in the BTF of the kernel and its modules. Without BTF it finds all: the load then says what is
// missing.
func findInBTF(name string, typ any) error {
	if strings.HasSuffix(name, "_") || name == "" {
		return nil // the section does not name a target
	}
	cache := kernelbtf.Cache()
	spec, err := cache.Kernel()
	if err != nil {
		return nil
	}
	err = spec.TypeByName(name, typ)
	if !errors.Is(err, btf.ErrNotFound) {
		return nil
	}
	modules, _ := cache.Modules()
	for _, module := range modules {
		if spec, loadErr := cache.Module(module); loadErr == nil && spec.TypeByName(name, typ) == nil {
			return nil
		}
	}
	return err
}
