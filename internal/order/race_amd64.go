//go:build race

package order

import (
	"runtime"
	"unsafe"
)

// releases tells the race detector that the next store to p is a release.
func releases(p *uint64) { runtime.RaceReleaseMerge(unsafe.Pointer(p)) }
