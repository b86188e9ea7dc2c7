//go:build race

package order

import (
	"runtime"
	"unsafe"
)

// releases tells the race detector that an acquiring load of what is stored to p next sees
// what this goroutine has stored before.
func releases(p *uint64) { runtime.RaceReleaseMerge(unsafe.Pointer(p)) }
