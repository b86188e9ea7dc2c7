package command

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Spoiled reports whether a command should undo what it did because it failed with err to write its
// output. It returns false for EPIPE: a reader that closes the pipe early does not cancel the command.
func Spoiled(err error) bool { return err != nil && !errors.Is(err, unix.EPIPE) }

// RemoveDirs removes the given directories, in order, except those that are not empty.
func RemoveDirs(dirs []string) {
	for _, dir := range dirs {
		_ = unix.Rmdir(dir)
	}
}
