package command

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/escape"
)

// IsTerminal reports whether w writes to a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := escape.Unwrap(w).(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
