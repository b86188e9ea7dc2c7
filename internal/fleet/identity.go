package fleet

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/ring"
)

// Identity says which ring a batch is from. Host, Machine and Ring are the same after a reboot; the other fields tell
// whether it is still the same ring.
type Identity struct {
	Host     string // host name, or the name that the user gave to the host
	Machine  string // /etc/machine-id, 32 hexadecimal digits; "" if the host has none
	Boot     string // /proc/sys/kernel/random/boot_id
	Ring     string // name of the ring on its host
	Map      ebpf.MapID
	Creation uint64 // random number of this ring, see [Creation]; 0 if unknown
}

// Same reports whether two identities mean the same ring, and so the same positions. A ring that was recreated is
// another one.
func (id Identity) Same(o Identity) bool {
	return id.Machine == o.Machine && id.Boot == o.Boot && id.Map == o.Map &&
		(id.Creation == o.Creation || id.Creation == 0 || o.Creation == 0)
}

// ThisHost returns the identity of this host, without a ring. name is the host's name; if it is "", the kernel's is used.
func ThisHost(name string) (id Identity, err error) {
	if id.Host = name; name == "" {
		if id.Host, err = os.Hostname(); err != nil {
			return id, fmt.Errorf("find the host's name: %w", err)
		}
	}
	machine, err := os.ReadFile("/etc/machine-id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return id, fmt.Errorf("find the machine id: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id, fmt.Errorf("find the boot id: %w", err)
	}
	id.Machine, id.Boot = strings.TrimSpace(string(machine)), strings.TrimSpace(string(boot))
	return id, nil
}

// Creation returns the creation number of the RINGBUF m. The kernel may use the id of a map again, so a number in the ring's
// consumer page tells a ring from a later one. It is 0 until a caller with mark set has stored a random one, which needs
// a writable map.
func Creation(m *ebpf.Map, mark bool) (uint64, error) {
	open := ring.Observe
	if mark {
		open = ring.Consume
	}
	mem, err := open(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		return 0, err
	}
	word := mem.Creation()
	if mark && word.Load() == 0 {
		word.CompareAndSwap(0, random())
	}
	number := word.Load()
	return number, mem.Unmap()
}

// random returns a random number that is not 0.
func random() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return max(binary.NativeEndian.Uint64(b[:]), 1)
}
