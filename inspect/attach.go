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
	Type   string  // such as tracing, raw_tracepoint, cgroup, kprobe, uretprobe
	Target string  // such as a function's name, or file+0xoffset; may be empty
}

// String returns the type and the target.
func (a Attachment) String() string {
	if a.Target == "" {
		return a.Type
	}
	return a.Type + " " + a.Target
}

// Attachments returns where the programs with these ids and types are attached, or nil if that is unknown, and notes
// on what is unknown. It finds BPF links, and programs attached without a link to perf events, cgroups or network
// interfaces. It does not find socket filters, or sk_msg and sk_skb programs attached to maps. It needs CAP_SYS_ADMIN.
func Attachments(types map[ebpf.ProgramID]ebpf.ProgramType) (map[ebpf.ProgramID][]Attachment, []string) {
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
	t := targets{functions: functionNames{}, cgroups: newCgroupPaths()}
	defer t.cgroups.close()
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil {
			continue // this kind of link has no info, or the link has vanished
		}
		if _, asked := p.types[info.Program]; asked {
			p.add(info.Program, Attachment{Link: info.ID, Type: typeOf(info), Target: t.target(info)})
		}
	}
	return it.Err()
}

// targets describes what links attach to.
type targets struct {
	functions functionNames
	cgroups   *cgroupPaths
}

func (d targets) target(info *link.Info) string {
	if r := info.RawTracepoint(); r != nil {
		return r.Name
	}
	if t := info.Tracing(); t != nil {
		return fmt.Sprintf("%s %s", attachType(uint32(t.AttachType)), d.functions.name(t))
	}
	if c := info.Cgroup(); c != nil {
		return cgroupTarget(uint32(c.AttachType), d.cgroups.name(c.CgroupId))
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
		return counted(k.Count, "function")
	}
	if u := info.UprobeMulti(); u != nil {
		return counted(u.Count, "place") + " in " + u.File
	}
	if p := info.PerfEvent(); p != nil {
		return perfTarget(p)
	}
	return ""
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
