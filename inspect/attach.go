package inspect

import (
	"fmt"
	"net"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/rbtool/rbtool/internal/kernelbtf"
)

// Attachment is one place where a program is attached.
type Attachment struct {
	Link   link.ID // id of the BPF link, or 0 if there is none
	Type   string  // such as tracing, raw_tracepoint, cgroup, perf_event
	Target string  // such as a function's name; may be empty
}

// String returns the type and the target.
func (a Attachment) String() string {
	if a.Target == "" {
		return a.Type
	}
	return a.Type + " " + a.Target
}

// attachments returns where programs are attached, or nil if that is unknown, and notes. It finds BPF links, and
// programs attached without a link to perf events, cgroups or network interfaces. It does not find socket
// filters, or sk_msg and sk_skb programs attached to maps.
func attachments(types map[ebpf.ProgramID]ebpf.ProgramType) (map[ebpf.ProgramID][]Attachment, []string) {
	p := places{types: types, at: map[ebpf.ProgramID][]Attachment{}}
	if len(types) == 0 {
		return p.at, nil
	}
	if err := p.addLinks(); err != nil {
		return nil, []string{fmt.Sprintf("attach points unknown: %v", adminReason(err))}
	}
	p.addPerfEvents()
	p.addCgroups()
	p.addInterfaces()
	return p.at, p.notes
}

func (p *places) addLinks() error {
	functions := functionNames{}
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil {
			continue // this kind of link has no info, or the link has vanished
		}
		if _, asked := p.types[info.Program]; asked {
			p.add(info.Program, Attachment{Link: info.ID, Type: linkType(info.Type), Target: functions.target(info)})
		}
	}
	return it.Err()
}

// linkTypes names the types of enum bpf_link_type, include/uapi/linux/bpf.h.
var linkTypes = map[link.Type]string{
	link.RawTracepointType: "raw_tracepoint",
	link.TracingType:       "tracing",
	link.CgroupType:        "cgroup",
	link.IterType:          "iter",
	link.NetNsType:         "netns",
	link.XDPType:           "xdp",
	link.PerfEventType:     "perf_event",
	link.KprobeMultiType:   "kprobe_multi",
	link.StructOpsType:     "struct_ops",
	link.NetfilterType:     "netfilter",
	link.TCXType:           "tcx",
	link.UprobeMultiType:   "uprobe_multi",
	link.NetkitType:        "netkit",
}

func linkType(t link.Type) string {
	if name, ok := linkTypes[t]; ok {
		return name
	}
	return fmt.Sprintf("link_type_%d", t)
}

// target describes what a link attaches to.
func (f functionNames) target(info *link.Info) string {
	if r := info.RawTracepoint(); r != nil {
		return r.Name
	}
	if t := info.Tracing(); t != nil {
		return fmt.Sprintf("%s %s", attachType(uint32(t.AttachType)), f.name(t))
	}
	if c := info.Cgroup(); c != nil {
		return cgroupTarget(uint32(c.AttachType), c.CgroupId)
	}
	if n := info.NetNs(); n != nil {
		return fmt.Sprintf("%s of netns %d", attachType(uint32(n.AttachType)), n.NetnsInode)
	}
	if x := info.XDP(); x != nil {
		return interfaceName(x.Ifindex)
	}
	if t := info.TCX(); t != nil {
		return interfaceTarget(ebpf.AttachType(t.AttachType), interfaceName(t.Ifindex))
	}
	if n := info.Netkit(); n != nil {
		return interfaceTarget(ebpf.AttachType(n.AttachType), interfaceName(n.Ifindex))
	}
	if n := info.Netfilter(); n != nil {
		return fmt.Sprintf("hook %d of protocol %d", n.Hook, n.ProtocolFamily)
	}
	if k := info.KprobeMulti(); k != nil {
		return fmt.Sprintf("%d functions", k.Count)
	}
	if u := info.UprobeMulti(); u != nil {
		return fmt.Sprintf("%d places in %s", u.Count, u.File)
	}
	if p := info.PerfEvent(); p != nil {
		return perfTarget(p)
	}
	return ""
}

func perfTarget(p *link.PerfEventInfo) string {
	if k := p.Kprobe(); k != nil {
		return place(k.Function, uint64(k.Offset), k.Address)
	}
	if u := p.Uprobe(); u != nil {
		return place(u.File, uint64(u.Offset), 0)
	}
	if t := p.Tracepoint(); t != nil {
		return t.Tracepoint
	}
	if e := p.Event(); e != nil {
		return fmt.Sprintf("event %d of type %d", e.Config, e.Type)
	}
	return ""
}

// place describes the location of a probe as the kernel's tracing does: symbol+0xoffset, or the address if the
// symbol is unknown.
func place(symbol string, offset, address uint64) string {
	switch {
	case symbol == "" && address == 0:
		return ""
	case symbol == "":
		return fmt.Sprintf("%#x", address)
	case offset == 0:
		return symbol
	}
	return fmt.Sprintf("%s+%#x", symbol, offset)
}

func attachType(t uint32) string {
	return strings.ToLower(ebpf.AttachType(t).String())
}

func interfaceName(index uint32) string {
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return fmt.Sprintf("interface %d", index) // the interface is in another network namespace, or gone
}

// functionNames caches the BTF of the kernel and modules, which names the functions that tracing programs attach
// to. The value is nil if the BTF cannot be read.
type functionNames map[btf.ID]*btf.Spec

// name returns the function that a tracing link is attached to.
func (f functionNames) name(t *link.TracingInfo) string {
	id := btf.ID(t.TargetObjectId)
	spec, seen := f[id]
	if !seen {
		spec = objectBTF(id)
		f[id] = spec
	}
	if spec != nil {
		if typ, err := spec.TypeByID(btf.TypeID(t.TargetBtfId)); err == nil && typ.TypeName() != "" {
			return typ.TypeName()
		}
	}
	return fmt.Sprintf("BTF type %d of object %d", t.TargetBtfId, t.TargetObjectId)
}

// objectBTF loads the BTF of the kernel or a module. It returns nil for other objects, such as programs
// (bpf_tracing_link_fill_link_info in kernel/bpf/syscall.c).
func objectBTF(id btf.ID) *btf.Spec {
	handle, err := btf.NewHandleFromID(id)
	if err != nil {
		return nil
	}
	defer handle.Close()
	info, err := handle.Info()
	if err != nil || !info.IsKernel {
		return nil
	}
	types := kernelbtf.Cache()
	var spec *btf.Spec
	if info.IsVmlinux() {
		spec, err = types.Kernel()
	} else {
		spec, err = types.Module(info.Name)
	}
	if err != nil {
		return nil
	}
	return spec
}
