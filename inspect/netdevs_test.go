package inspect

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// inNetns runs f on a thread in a new network namespace, whose only interface is lo, and returns
// the error of f.
func inNetns(t *testing.T, f func(lo netlink.Link) error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread and the namespace end with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = f(lo)
		}
		done <- err
	}()
	return <-done
}

// expect checks where the only program that uses m is attached, and the notes.
func expect(t *testing.T, m *ebpf.Map, note string, want ...Attachment) {
	t.Helper()
	d, err := One(m, Options{SkipUsers: true, SkipPins: true})
	if err != nil || len(d.Programs) != 1 {
		t.Errorf("%+v, %v", d, err)
		return
	}
	if diff := gocmp.Diff(append([]Attachment{}, want...), d.Programs[0].Attached); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if all := strings.Join(d.Notes, "\n"); note == "" && all != "" || !strings.Contains(all, note) {
		t.Errorf("notes %q, want %q", d.Notes, note)
	}
}

const elsewhere = "attached nowhere, or without a link in another network namespace: programs ["

func TestXDPByNetlink(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	p := userOf(t, m, ebpf.ProgramSpec{Type: ebpf.XDP})
	err := inNetns(t, func(lo netlink.Link) error {
		expect(t, m, elsewhere)
		if err := netlink.LinkSetXdpFd(lo, p.FD()); err != nil {
			return err
		}
		expect(t, m, "", Attachment{Type: "xdp", Target: "lo"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, m, elsewhere)
}

func TestTCFilters(t *testing.T) {
	for _, tt := range []struct {
		qdisc  string
		parent uint32
		want   string
	}{
		{"clsact", netlink.HANDLE_MIN_INGRESS, "ingress of lo"},
		{"clsact", netlink.HANDLE_MIN_EGRESS, "egress of lo"},
		{"ingress", netlink.HANDLE_MIN_INGRESS, "ingress of lo"},
		{"htb", netlink.MakeHandle(1, 0), "htb 1: of lo"},
	} {
		t.Run(tt.qdisc+" "+tt.want, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, testenv.PageSize)
			p := userOf(t, m, ebpf.ProgramSpec{Type: ebpf.SchedCLS})
			feature := "qdisc-" + tt.qdisc
			err := inNetns(t, func(lo netlink.Link) error {
				if err := addQdisc(lo, tt.qdisc, tt.parent); err != nil {
					return err
				}
				feature = "cls-bpf"
				if err := addFilter(lo, tt.parent, p); err != nil {
					return err
				}
				expect(t, m, "", Attachment{Type: "tc", Target: tt.want})
				return nil
			})
			if errors.Is(err, unix.ENOENT) { // the kernel lacks the qdisc's module
				testenv.SkipWithout(t, feature, err)
			}
			if err != nil {
				t.Fatal(err)
			}
			p.Close()
			m.Close()
		})
	}
}

func addQdisc(l netlink.Link, kind string, parent uint32) error {
	attrs := netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
	var q netlink.Qdisc = &netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: kind}
	if kind == "htb" {
		attrs.Handle, attrs.Parent = parent, netlink.HANDLE_ROOT
		q = netlink.NewHtb(attrs)
	}
	return netlink.QdiscAdd(q)
}

// addFilter attaches a program as a filter of a qdisc, or of its ingress or egress.
func addFilter(l netlink.Link, parent uint32, p *ebpf.Program) error {
	return netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs:  netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: parent, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:           p.FD(),
		Name:         "filter",
		DirectAction: true,
	})
}

func TestTCXWithoutALink(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	p := userOf(t, m, ebpf.ProgramSpec{Type: ebpf.SchedCLS})
	err := inNetns(t, func(lo netlink.Link) error {
		opts := link.RawAttachProgramOptions{Target: lo.Attrs().Index, Program: p, Attach: ebpf.AttachTCXIngress}
		if err := link.RawAttachProgram(opts); err != nil {
			return err
		}
		expect(t, m, "", Attachment{Type: "tcx", Target: "tcxingress of lo"})
		return nil
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) { // the kernel is older than 6.6
		testenv.SkipWithout(t, "tcx", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A program attached by a link is found twice, by the link and at the interface, but shown once.
func TestWhatALinkAttachesIsShownOnce(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	p := userOf(t, m, ebpf.ProgramSpec{Type: ebpf.XDP})
	err := inNetns(t, func(lo netlink.Link) error {
		l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: lo.Attrs().Index})
		if err != nil {
			return err
		}
		defer l.Close()
		info, err := l.Info()
		if err != nil {
			return err
		}
		expect(t, m, "", Attachment{Link: info.ID, Type: "xdp", Target: "lo"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
