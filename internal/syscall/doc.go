// Package syscall makes the system calls for maps and programs that cilium/ebpf does
// not offer. It maps the pages of maps, waits for maps in the Go runtime's poller, and
// loads programs with arena pointers.
package syscall

// Each package that touches shared memory imports this one.
import _ "github.com/rbtool/rbtool/internal/needs64bitlittleendian"
