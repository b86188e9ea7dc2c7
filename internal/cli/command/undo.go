package command

import (
	"errors"

	"golang.org/x/sys/unix"
)

// spoiled reports whether a command whose output failed with err is to undo
// what it did. A reader that closed the pipe has merely had enough.
func Spoiled(err error) bool { return err != nil && !errors.Is(err, unix.EPIPE) }

// rmdirs removes directories that a command made, unless somebody else put something
// there.
func RemoveDirs(dirs []string) {
	for _, dir := range dirs {
		_ = unix.Rmdir(dir)
	}
}
