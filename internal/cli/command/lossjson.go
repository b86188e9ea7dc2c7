package command

import (
	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
)

// RefusedJSON is the JSON of the samples for which a user ring buffer had no room, counted by its producers.
type RefusedJSON struct {
	Samples uint64  `json:"samples"`
	Bytes   uint64  `json:"bytes"`
	NoRoom  float64 `json:"no_room_seconds"`
}

// JSONRefused converts r; nil stays nil.
func JSONRefused(r *inspect.Refused) *RefusedJSON {
	if r == nil {
		return nil
	}
	return &RefusedJSON{r.Samples, r.Bytes, r.Full.Seconds()}
}

// DrainsJSON is the JSON of the drains of a user ring buffer, those that failed by their error. What counts drains converts to it.
type DrainsJSON struct {
	Map     ebpf.MapID `json:"-"`
	Calls   uint64     `json:"calls"`
	Samples uint64     `json:"samples"`
	Busy    uint64     `json:"busy"`
	Invalid uint64     `json:"invalid"`
	TooBig  uint64     `json:"too_big"`
	Failed  uint64     `json:"failed"`
}
