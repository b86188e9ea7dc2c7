package vm

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/vmtest/kernels"
)

func TestModulesAreLoadedAfterWhatTheyNeed(t *testing.T) {
	const dep = `kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/net/9p/9pnet.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz
kernel/drivers/virtio/virtio_ring.ko.xz:
`
	want := []string{
		"kernel/drivers/virtio/virtio_ring.ko.xz", "kernel/net/9p/9pnet.ko.xz", "kernel/net/9p/9pnet_virtio.ko.xz",
		"kernel/fs/netfs/netfs.ko.xz", "kernel/fs/9p/9p.ko.xz",
	}
	if diff := cmp.Diff(want, loadOrder(dep, "built_in", "9pnet_virtio", "9p")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestArchiveIsWhatCpioReads(t *testing.T) {
	cpio, err := exec.LookPath("busybox")
	if err != nil {
		t.Logf("no busybox here to read it with: %v", err)
		return
	}
	var b bytes.Buffer
	a := newArchive(&b)
	a.dir("/dev")
	a.file("/init", 0o755, []byte("#!/bin/sh\n"))
	a.file("/odd", 0o644, []byte("abc"))
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(cpio, "cpio", "-tv")
	cmd.Stdin = &b
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"drwxr-xr-x", "-rwxr-xr-x", "init", "odd", "dev"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// virtme-ng passes the option for a single TCG thread to qemu, unchanged by the shell in between.
func TestVirtmeNGIsTold(t *testing.T) {
	m := Machine{Kernel: kernels.Kernel{Image: "/k/vmlinuz"}, Shared: "/s", Console: "/c"}
	m.defaults()
	args, err := VirtmeNG{}.args(m)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(args, " ")
	for _, want := range []string{"--disable-kvm", "-accel tcg,thread=single", "-cpu max,-erms,-cx16", "--cpus 2", "-r /k/vmlinuz", "--rwdir=/media=/s", "--rodir=/=/", "--force-initramfs", "-a init=/s/init",
		"-chardev file,id=output,path=/s/output", "-device virtio-serial-pci,id=output-bus,max_ports=3,ioeventfd=off"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in %s", want, all)
		}
	}
	for _, shared := range []string{"/s;rm", "/my cache/s"} {
		m.Shared = shared
		if _, err := (VirtmeNG{}).args(m); err == nil {
			t.Errorf("%q passed", shared)
		}
	}
}

func TestRateOfTheTimeStampCounter(t *testing.T) {
	for info, want := range map[string]int{
		"flags\t\t: fpu tsc constant_tsc apic\nbogomips\t: 5192.29\n": 2596145,
		"flags\t\t: fpu tsc apic\nbogomips\t: 5192.29\n":              0,
		"flags\t\t: constant_tsc\nbogomips\t: many\n":                 0,
		"": 0,
	} {
		if got := tscKHz(info); got != want {
			t.Errorf("%q: %d, want %d", info, got, want)
		}
	}
}
