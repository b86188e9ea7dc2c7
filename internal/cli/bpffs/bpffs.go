// Package bpffs has the commands that put maps on a bpffs and take them off: create, pin and unpin.
package bpffs

import "github.com/spf13/cobra"

// bpffsCommands returns the commands of this family.
func Commands() []*cobra.Command { return []*cobra.Command{newCreate(), newPin(), newUnpin()} }
