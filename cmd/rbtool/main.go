// Command rbtool creates, pins, watches and feeds the BPF maps whose memory a
// process can map.
package main

import (
	"os"

	"github.com/rbtool/rbtool/internal/cli"
)

func main() { os.Exit(cli.Main()) }
