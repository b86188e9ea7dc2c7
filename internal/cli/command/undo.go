package command

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Spoiled reports whether a command should undo what it did because writing its output failed with
// err. It returns false for EPIPE: a reader that closes the pipe early does not cancel the command.
func Spoiled(err error) bool { return err != nil && !errors.Is(err, unix.EPIPE) }

// RemoveDirs removes directories that a command made, in order. Directories that are not empty stay.
func RemoveDirs(dirs []string) {
	for _, dir := range dirs {
		_ = unix.Rmdir(dir)
	}
}
