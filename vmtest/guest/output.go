package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// output is the port [OutputPort], to which binaries write. A write queues a buffer and notifies
// the device, under the lock of the port (drivers/char/virtio_console.c, __send_to_port). The
// notification accesses a register of the device, and qemu writes the buffer to the host's file
// before that access returns. So when write(2) returns, the data are on the host, and are not lost
// if the guest panics next. The port takes at most 32 KiB at a time and returns a short count for
// more.
//
// A write to a file of the 9p file server would pass through two more threads of qemu and take 50
// times as long.
type output struct {
	port *os.File
	// file is the path of the host's output file, in the shared directory.
	file string
}

// portBound is the time within which the port must appear.
const portBound = 10 * time.Second

// openOutput opens the port. path is the output file to which the host appends the port's data.
// openOutput waits for the port, which the kernel creates some time after it has found the device.
func openOutput(path string) (output, error) {
	for end := time.Now().Add(portBound); ; time.Sleep(10 * time.Millisecond) {
		device, err := findPort(OutputPort)
		switch missing := errors.Is(err, fs.ErrNotExist); {
		case missing && time.Now().Before(end):
			continue
		case missing:
			return output{}, fmt.Errorf("find serial port %s: %w (the kernel needs CONFIG_VIRTIO_CONSOLE)", OutputPort, err)
		case err != nil:
			return output{}, fmt.Errorf("find serial port %s: %w", OutputPort, err)
		}
		// os.OpenFile would set O_NONBLOCK, which the binaries would inherit.
		fd, err := unix.Open(device, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return output{}, fmt.Errorf("open serial port %s: %w", OutputPort, err)
		}
		return output{port: os.NewFile(uintptr(fd), device), file: path}, nil
	}
}

// written returns the length of the output file: of all output so far.
func (o output) written() (int64, error) {
	info, err := os.Stat(o.file)
	if err != nil {
		return 0, fmt.Errorf("measure output: %w", err)
	}
	return info.Size(), nil
}

// findPort returns the path of the device of the virtio serial port with this name. The error
// matches [fs.ErrNotExist] if the port does not exist (yet).
func findPort(name string) (string, error) {
	paths, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if strings.TrimSpace(string(text)) == name {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(path))), nil
		}
	}
	return "", fs.ErrNotExist
}
