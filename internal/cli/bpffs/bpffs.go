// Package bpffs provides the commands that put maps on a bpffs and remove them: create, pin and unpin.
package bpffs

import "github.com/spf13/cobra"

// Commands returns the commands of this package.
func Commands() []*cobra.Command { return []*cobra.Command{newCreate(), newPin(), newUnpin()} }
