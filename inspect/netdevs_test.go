package inspect

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/netns"
	"github.com/rbtool/rbtool/internal/testenv"
)

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
	err := netns.Run(func() error {
		expect(t, m, elsewhere)
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
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
			err := netns.Run(func() error {
				if err := netns.AddQdisc(tt.qdisc); err != nil {
					return err
				}
				feature = "cls-bpf"
				if err := netns.AddFilter(tt.parent, p); err != nil {
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

func TestTCXWithoutALink(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	p := userOf(t, m, ebpf.ProgramSpec{Type: ebpf.SchedCLS})
	err := netns.Run(func() error {
		opts := link.RawAttachProgramOptions{Target: netns.Lo, Program: p, Attach: ebpf.AttachTCXIngress}
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
	err := netns.Run(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: netns.Lo})
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
