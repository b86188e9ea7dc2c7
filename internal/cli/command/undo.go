package command

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Spoiled reports whether a command should undo what it did. err is the error of writing its output, or
// nil. It returns false for EPIPE: a reader that closes the pipe early does not cancel the command.
func Spoiled(err error) bool { return err != nil && !errors.Is(err, unix.EPIPE) }

// RemoveDirs removes the given directories, in order, except those that are not empty.
func RemoveDirs(dirs []string) {
	for _, dir := range dirs {
		_ = unix.Rmdir(dir)
	}
}
