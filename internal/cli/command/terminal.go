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

// TerminalWidth returns the number of columns of the terminal that w writes to, or 0 if w is none or the terminal
// does not tell.
func TerminalWidth(w io.Writer) int {
	f, ok := escape.Unwrap(w).(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
