package session

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/rbtool/rbtool/vmtest/guest"
	"github.com/rbtool/rbtool/vmtest/vm"
)

// AccelEnv is the environment variable that selects the accelerator: kvm, tcg, or any value of
// qemu's option -accel.
const AccelEnv = "VMTEST_ACCEL"

// kvmBound is the time within which a kernel must boot under KVM. On some hosts /dev/kvm exists,
// but a kernel hangs or dies.
const kvmBound = 8 * time.Second

// verdict says whether KVM works, and under which conditions that was tested.
type verdict struct {
	BootID, Qemu string
	Works        bool
	Why          string
}

// Accel returns KVM if machine m boots with the driver under KVM in time, else TCG; why is the
// reason. It keeps the result in the directory cache until the host reboots or its qemu changes.
func Accel(ctx context.Context, m vm.Machine, driver, cache string) (accel vm.Accel, why string, err error) {
	switch v := os.Getenv(AccelEnv); v {
	case "":
	case "kvm":
		return vm.KVM, AccelEnv, nil
	case "tcg":
		return vm.TCG, AccelEnv, nil
	default:
		return vm.Accel(v), AccelEnv, nil
	}
	if arch := m.Kernel.Arch; arch != runtime.GOARCH {
		return vm.TCG, "a processor of " + arch + " is emulated", nil
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return vm.TCG, err.Error(), nil
	}
	f.Close()
	now, err := circumstances(ctx)
	if err != nil {
		return "", "", fmt.Errorf("probe KVM: %w", err)
	}
	path := filepath.Join(cache, "kvm.json")
	var v verdict
	if text, err := os.ReadFile(path); err == nil && json.Unmarshal(text, &v) == nil && v.BootID == now.BootID && v.Qemu == now.Qemu {
		return v.accel()
	}
	v = now
	if v.Why, err = tryKVM(ctx, m, driver, cache); err != nil {
		return "", "", fmt.Errorf("probe KVM: %w", err)
	}
	v.Works = v.Why == ""
	text, err := json.Marshal(v)
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return "", "", fmt.Errorf("probe KVM: %w", err)
	}
	return v.accel()
}

func (v verdict) accel() (vm.Accel, string, error) {
	if v.Works {
		return vm.KVM, "a kernel boots under it", nil
	}
	return vm.TCG, "KVM: " + v.Why, nil
}

func circumstances(ctx context.Context) (verdict, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return verdict{}, err
	}
	out, err := exec.CommandContext(ctx, vm.Qemu(runtime.GOARCH), "--version").Output()
	if err != nil {
		return verdict{}, err
	}
	version, _, _ := strings.Cut(string(out), "\n")
	return verdict{BootID: strings.TrimSpace(string(id)), Qemu: version}, nil
}

// tryKVM boots machine m under KVM. It returns why m did not boot, or the empty string.
func tryKVM(ctx context.Context, m vm.Machine, driver, dir string) (string, error) {
	m.Accel = vm.KVM
	r, err := Exec(ctx, guest.Plan{}, Options{
		Runner: vm.Direct{Driver: driver}, Machine: m, Driver: driver, Dir: dir, Boot: kvmBound, Grace: kvmBound,
	})
	if err != nil {
		return "", err
	}
	if r.Died == nil {
		return "", nil
	}
	return r.Died.What, nil
}
