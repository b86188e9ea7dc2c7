package producer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Constants of <linux/userfaultfd.h>. The ioctl numbers are valid on most architectures, among them
// amd64 and arm64.
const (
	uffdAPI                    = 0xAA       // UFFD_API
	uffdioAPI                  = 0xc018aa3f // UFFDIO_API
	uffdioRegister             = 0xc020aa00 // UFFDIO_REGISTER
	uffdioRegisterMissing      = 1          // UFFDIO_REGISTER_MODE_MISSING
	uffdioCopy                 = 0xc028aa03 // UFFDIO_COPY
	uffdMsgSize                = 32         // sizeof(struct uffd_msg)
	uffdEventPagefault    byte = 0x12       // UFFD_EVENT_PAGEFAULT
)

// faultPage is a page of this process's memory that is missing until serve. A thread that reads it,
// also in the kernel, sleeps until then (fs/userfaultfd.c, handle_userfault).
type faultPage struct {
	uffd *os.File
	mem  []byte // mapped, never touched by Go
}

func newFaultPage() (_ *faultPage, err error) {
	uffd, err := newUserfaultfd()
	if err != nil {
		return nil, err
	}
	f := &faultPage{uffd: uffd}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	size := os.Getpagesize()
	f.mem, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map page: %w", err)
	}
	register := struct{ start, len, mode, ioctls uint64 }{
		start: f.addr(), len: uint64(size), mode: uffdioRegisterMissing,
	}
	if err := f.ioctl("UFFDIO_REGISTER", uffdioRegister, unsafe.Pointer(&register)); err != nil {
		return nil, err
	}
	return f, nil
}

// newUserfaultfd returns a userfaultfd that the Go runtime can poll. It does UFFDIO_API before the
// runtime polls the descriptor: until then poll returns EPOLLERR (fs/userfaultfd.c,
// userfaultfd_poll).
func newUserfaultfd() (*os.File, error) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK, 0, 0)
	if errno == unix.ENOSYS {
		return nil, fmt.Errorf("create userfaultfd: %w (%w)", ebpf.ErrNotSupported, errno)
	}
	if errno != 0 {
		return nil, fmt.Errorf("create userfaultfd: %w", errno)
	}
	api := struct{ api, features, ioctls uint64 }{api: uffdAPI}
	if err := ioctl(fd, "UFFDIO_API", uffdioAPI, unsafe.Pointer(&api)); err != nil {
		return nil, errors.Join(err, unix.Close(int(fd)))
	}
	return os.NewFile(fd, "userfaultfd"), nil
}

// addr returns the address of the page. The page is mapped memory, so the garbage collector neither
// moves nor frees it.
func (f *faultPage) addr() uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(f.mem))))
}

// wait waits until a thread sleeps on the page. After cancel it returns os.ErrDeadlineExceeded.
func (f *faultPage) wait() error {
	var msg [uffdMsgSize]byte
	if _, err := io.ReadFull(f.uffd, msg[:]); err != nil {
		return fmt.Errorf("wait for page fault: %w", err)
	}
	if msg[0] != uffdEventPagefault {
		return fmt.Errorf("wait for page fault: unexpected event %#x", msg[0])
	}
	return nil
}

func (f *faultPage) cancel() error { return f.uffd.SetReadDeadline(time.Unix(1, 0)) }

// serve provides the page, with data at its start and zeros after that, and wakes the threads that
// sleep on it.
func (f *faultPage) serve(data []byte) error {
	page := make([]byte, len(f.mem))
	copy(page, data)
	req := struct{ dst, src, len, mode, copied uint64 }{
		dst: f.addr(), src: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(page)))), len: uint64(len(page)),
	}
	err := f.ioctl("UFFDIO_COPY", uffdioCopy, unsafe.Pointer(&req))
	runtime.KeepAlive(page) // req holds its address as a number
	return err
}

func (f *faultPage) ioctl(name string, request uintptr, arg unsafe.Pointer) error {
	conn, err := f.uffd.SyscallConn()
	if err != nil {
		return err
	}
	var errno error
	err = conn.Control(func(fd uintptr) { errno = ioctl(fd, name, request, arg) })
	return errors.Join(err, errno)
}

// SAFETY: the conversion of arg in the call of Syscall keeps its memory alive and in place; each
// caller passes a struct of the size that request encodes.
func ioctl(fd uintptr, name string, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg)); errno != 0 {
		return fmt.Errorf("%s: %w", name, errno)
	}
	return nil
}

// closeFD wakes the threads that sleep on the page. From then on the page is ordinary zeroed
// memory.
func (f *faultPage) closeFD() error { return f.uffd.Close() }

// unmap unmaps the page. No thread may read it any more.
func (f *faultPage) unmap() error {
	if f.mem == nil {
		return nil
	}
	return unix.Munmap(f.mem)
}

func (f *faultPage) close() error { return errors.Join(f.closeFD(), f.unmap()) }
