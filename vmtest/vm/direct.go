package vm

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rbtool/rbtool/vmtest/guest"
)

// Direct is a runner that starts qemu without virtme-ng, with a small initramfs that contains the
// driver.
type Direct struct {
	// Driver is the statically linked program that calls guest.Init, for the machine's
	// architecture.
	Driver string
	// Qemu is the qemu program, by default that of the machine's architecture.
	Qemu string
}

// Name is "direct".
func (Direct) Name() string { return "direct" }

const rootTag = "root"

// Run implements Runner.
func (d Direct) Run(ctx context.Context, m Machine) error {
	m.defaults()
	if m.Kernel.Image == "" {
		return fmt.Errorf("start qemu: kernel %s has no image on this host (-runner virtme-ng can fetch it)", m.Kernel.Name)
	}
	initramfs := filepath.Join(m.Scratch, "initramfs")
	if err := d.initramfs(ctx, initramfs, m); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	qemu := d.Qemu
	if qemu == "" {
		qemu = Qemu(m.Kernel.Arch)
	}
	if err := run(ctx, exec.Command(qemu, d.args(m, initramfs)...), m.Terminal); err != nil {
		return fmt.Errorf("run qemu: %w", err)
	}
	return nil
}

func (d Direct) args(m Machine, initramfs string) []string {
	kernel := m.Kernel.Image
	if m.Kernel.PVH != "" {
		kernel = m.Kernel.PVH
	}
	board := boards[m.Kernel.Arch]
	args := append(m.accelArgs(),
		"-machine", board.machine,
		"-smp", strconv.Itoa(m.CPUs), "-m", strconv.Itoa(m.MemoryMiB)+"M",
		"-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "file:"+escape(m.Console),
		"-kernel", kernel, "-initrd", initramfs, "-append", "console="+board.console+" "+strings.Join(m.kernelArgs(), " "),
	)
	args = append(args, m.outputArgs()...)
	if m.Terminal {
		args = append(args, "-chardev", "stdio,id=terminal,signal=off", "-device", "virtconsole,bus=output-bus.0,chardev=terminal")
	}
	args = append(args, share(rootTag, cmp.Or(m.Root, "/"), false)...)
	for _, s := range d.shares(m) {
		args = append(args, share(s.Tag, m.hostPath(s.Path), s.Writable)...)
	}
	return args
}

// shares returns the shares of m with the 9p tags by which the guest mounts them.
func (Direct) shares(m Machine) []guest.Share {
	shares := []guest.Share{{Tag: "shared", Path: guest.Dir, Writable: true}}
	for i, s := range m.Shares {
		shares = append(shares, guest.Share{Tag: "share" + strconv.Itoa(i), Path: s.Path, Writable: s.Writable})
	}
	return shares
}

// share returns the qemu options of a 9p device for a directory. If the directory spans several
// file systems of the host, their inode numbers may collide in the guest, so qemu remaps them.
func share(tag, path string, writable bool) []string {
	dev := fmt.Sprintf("local,id=%s,path=%s,security_model=none,multidevs=remap", tag, escape(path))
	if !writable {
		dev += ",readonly=on"
	}
	return []string{"-fsdev", dev, "-device", fmt.Sprintf("virtio-9p-pci,fsdev=%s,mount_tag=%s", tag, tag)}
}

// escape escapes a path in an option of qemu, where a comma ends a value.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

func (d Direct) initramfs(ctx context.Context, path string, m Machine) error {
	modules, err := rootModules(ctx, m.Kernel)
	if err != nil {
		return err
	}
	config, err := configuration(guest.Config{
		Root:     rootTag,
		Userland: m.Root != "",
		Shares:   d.shares(m),
		Driver:   filepath.Join(guest.Dir, guest.DriverFile),
	})
	if err != nil {
		return err
	}
	driver, err := os.ReadFile(d.Driver)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := newArchive(f)
	for _, dir := range []string{"/dev", "/" + guest.ModuleDir} {
		w.dir(dir)
	}
	w.file("/init", 0o755, driver)
	w.file("/"+guest.ConfigFile, 0o644, config)
	for i, module := range modules {
		w.file(fmt.Sprintf("/%s/%02d-%s", guest.ModuleDir, i, module.name), 0o644, module.data)
	}
	if err := w.close(); err != nil {
		return err
	}
	return f.Close()
}
