package inspect

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// interfaceTypes are the types of programs that network interfaces run.
var interfaceTypes = []ebpf.ProgramType{ebpf.XDP, ebpf.SchedCLS, ebpf.SchedACT}

// addInterfaces adds the programs attached without a link to the network interfaces of this network
// namespace: XDP by netlink, tc filters, and tcx and netkit by BPF_PROG_ATTACH.
func (p *places) addInterfaces() {
	if !p.any(interfaceTypes...) {
		return
	}
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		p.notes = append(p.notes, fmt.Sprintf("attach points at network interfaces unknown: %v", err))
		return
	}
	if p.any(ebpf.XDP) {
		p.addXDP(links)
	}
	if p.any(ebpf.SchedCLS, ebpf.SchedACT) {
		p.addMprog(links)
		p.addFilters(links)
	}
	var nowhere []ebpf.ProgramID
	for id, typ := range p.types {
		if slices.Contains(interfaceTypes, typ) && len(p.at[id]) == 0 {
			nowhere = append(nowhere, id)
		}
	}
	if len(nowhere) > 0 {
		slices.Sort(nowhere)
		p.notes = append(p.notes, fmt.Sprintf("attached nowhere, or without a link in another network namespace: programs %d", nowhere))
	}
}

func (p *places) addXDP(links []netlink.Link) {
	for _, l := range links {
		if a := l.Attrs(); a.Xdp != nil && a.Xdp.Attached {
			p.add(ebpf.ProgramID(a.Xdp.ProgId), Attachment{Type: "xdp", Target: a.Name})
		}
	}
}

// addMprog adds the programs that the kernel attaches with bpf_mprog: tcx since Linux 6.6, netkit since 6.7.
func (p *places) addMprog(links []netlink.Link) {
	for _, place := range []struct {
		typ    string
		attach ebpf.AttachType
	}{
		{"tcx", ebpf.AttachTCXIngress}, {"tcx", ebpf.AttachTCXEgress},
		{"netkit", ebpf.AttachNetkitPrimary}, {"netkit", ebpf.AttachNetkitPeer},
	} {
		for _, l := range links {
			a := l.Attrs()
			if place.typ == "netkit" && l.Type() != "netkit" {
				continue
			}
			err := p.query(a.Index, place.attach, Attachment{Type: place.typ, Target: interfaceTarget(place.attach, a.Name)})
			if errors.Is(err, unix.EPERM) {
				p.notes = append(p.notes, fmt.Sprintf("attach points of tcx and netkit without a link unknown: %v (needs CAP_NET_ADMIN)", unix.EPERM))
				return
			}
		}
	}
}

// addFilters adds the programs that are tc filters of clsact, ingress and other qdiscs. It does not find
// filters of a class within a qdisc, or programs that are actions of other filters.
func (p *places) addFilters(links []netlink.Link) {
	qdiscs, err := netlink.QdiscList(nil)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		p.notes = append(p.notes, fmt.Sprintf("tc filters unknown: %v", err))
		return
	}
	byIndex := map[int]netlink.Link{}
	for _, l := range links {
		byIndex[l.Attrs().Index] = l
	}
	for _, q := range qdiscs {
		l := byIndex[q.Attrs().LinkIndex]
		if l == nil {
			continue // the interface was created or removed between the two dumps
		}
		switch handle := q.Attrs().Handle; {
		case q.Type() == "clsact":
			p.addFiltersOf(l, netlink.HANDLE_MIN_INGRESS, "ingress")
			p.addFiltersOf(l, netlink.HANDLE_MIN_EGRESS, "egress")
		case q.Type() == "ingress":
			// An ingress qdisc has one list of filters, whatever parent is given (net/sched/sch_ingress.c,
			// ingress_tcf_block).
			p.addFiltersOf(l, netlink.HANDLE_MIN_INGRESS, "ingress")
		case handle != 0:
			p.addFiltersOf(l, handle, strings.TrimSuffix(fmt.Sprintf("%s %s", q.Type(), netlink.HandleStr(handle)), "0"))
		}
	}
}

func (p *places) addFiltersOf(l netlink.Link, parent uint32, where string) {
	filters, err := netlink.FilterList(l, parent)
	if err != nil {
		return // the qdisc is gone or has no filters
	}
	for _, f := range filters {
		if f, ok := f.(*netlink.BpfFilter); ok {
			p.add(ebpf.ProgramID(f.Id), Attachment{Type: "tc", Target: fmt.Sprintf("%s of %s", where, l.Attrs().Name)})
		}
	}
}

// interfaceTarget describes an interface to which a program is attached with the given attach type.
func interfaceTarget(attach ebpf.AttachType, name string) string {
	return fmt.Sprintf("%s of %s", attachType(uint32(attach)), name)
}
