package fleet

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/capture"
)

// The names of encodings of a batch's records.
const (
	Raw  = "raw"  // see [AppendRecord]
	JSON = "json" // a line for each record, as rbtool tail -o json prints it
)

// Batch is a run of records of one ring. It covers the positions from From to To: what of them is not in Body was
// discarded by its producer, lost, left out by a filter, or dropped. From is To of the batch before, unless the ring was read by
// another consumer in between. Positions are bytes since the ring's creation; the counts are of this batch.
type Batch struct {
	Identity
	Writer uint64 // random number of the forwarder that wrote the batch

	From, To    uint64 // positions that the batch covers
	First, Last uint64 // positions of its first and last record; undefined without records
	Records     uint64 // number of records in Body
	Bytes       uint64 // bytes of those, without headers
	Filtered    uint64 // records that the filter left out
	Discarded   uint64 // records that their producers discarded
	Lost        uint64 // bytes, with headers, that were overwritten before they could be read
	Dropped     uint64 // records that the forwarder dropped because the engine was full or away
	DroppedSize uint64 // bytes of those, without headers

	Time     time.Time      // when the first record was read
	Clocks   capture.Clocks // of the host, when the forwarder began with the ring; the zero value is unknown
	Encoding string         // of Body
	Types    string         // content hash of the types of the records; "" if unknown
	Body     []byte
}

// Header is what a message says of its batch besides the body: names and values of message headers.
type Header map[string]string

// headerPrefix begins the names of headers.
const headerPrefix = "Rb-"

// ErrFormat is matched by errors for messages that are not batches.
var ErrFormat = errors.New("not a batch of rbtool")

// fields returns the numbers of a batch by the names of their headers.
func (b *Batch) fields() map[string]*uint64 {
	return map[string]*uint64{
		"Writer": &b.Writer, "Creation": &b.Creation, "From": &b.From, "To": &b.To, "First": &b.First, "Last": &b.Last,
		"Records": &b.Records, "Bytes": &b.Bytes, "Filtered": &b.Filtered, "Discarded": &b.Discarded, "Lost": &b.Lost,
		"Dropped": &b.Dropped, "Dropped-Bytes": &b.DroppedSize,
	}
}

// texts returns the texts of a batch by the names of their headers.
func (b *Batch) texts() map[string]*string {
	return map[string]*string{
		"Host": &b.Host, "Machine": &b.Machine, "Boot": &b.Boot, "Ring": &b.Ring, "Encoding": &b.Encoding, "Types": &b.Types,
	}
}

// Header returns the header of the batch. Counts that are 0 and texts that are empty have no entry.
func (b *Batch) Header() Header {
	h := Header{
		headerPrefix + "Map":  strconv.FormatUint(uint64(b.Map), 10),
		headerPrefix + "Time": b.Time.UTC().Format(time.RFC3339Nano),
	}
	for name, n := range b.fields() {
		if *n != 0 {
			h[headerPrefix+name] = strconv.FormatUint(*n, 10)
		}
	}
	for name, text := range b.texts() {
		if *text != "" {
			h[headerPrefix+name] = *text
		}
	}
	if b.Clocks != (capture.Clocks{}) {
		h[headerPrefix+"Clocks"] = fmt.Sprintf("%d %d %d", b.Clocks.Monotonic, b.Clocks.Boottime, b.Clocks.TAI)
	}
	return h
}

// ParseBatch returns the batch with this header, which get reads, and body. Its errors match [ErrFormat].
func ParseBatch(get func(name string) string, body []byte) (*Batch, error) {
	b := &Batch{Body: body}
	for name, text := range b.texts() {
		*text = get(headerPrefix + name)
	}
	var id uint64
	numbers := b.fields()
	numbers["Map"] = &id
	for name, n := range numbers {
		text := get(headerPrefix + name)
		if text == "" {
			continue
		}
		var err error
		if *n, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, fmt.Errorf("%w: header %s%s: %w", ErrFormat, headerPrefix, name, err)
		}
	}
	var err error
	if b.Time, err = time.Parse(time.RFC3339Nano, get(headerPrefix+"Time")); err != nil {
		return nil, fmt.Errorf("%w: header %sTime: %w", ErrFormat, headerPrefix, err)
	}
	if b.Encoding != Raw && b.Encoding != JSON || id > 1<<32-1 || b.Boot == "" {
		return nil, fmt.Errorf("%w: header %sEncoding, %[2]sMap or %[2]sBoot is missing or wrong", ErrFormat, headerPrefix)
	}
	b.Map = ebpf.MapID(id)
	if text := get(headerPrefix + "Clocks"); text != "" {
		if _, err := fmt.Sscanf(text, "%d %d %d", &b.Clocks.Monotonic, &b.Clocks.Boottime, &b.Clocks.TAI); err != nil {
			return nil, fmt.Errorf("%w: header %sClocks: %w", ErrFormat, headerPrefix, err)
		}
	}
	return b, nil
}

// absorb makes b cover what a batch before it does, whose records were dropped.
func (b *Batch) absorb(dropped *Batch) {
	b.From = dropped.From
	b.Dropped += dropped.Dropped + dropped.Records
	b.DroppedSize += dropped.DroppedSize + dropped.Bytes
	b.Filtered += dropped.Filtered
	b.Discarded += dropped.Discarded
	b.Lost += dropped.Lost
}

// deduct reverses absorb for a batch that was stored after all.
func (b *Batch) deduct(stored *Batch) {
	b.From = stored.To
	b.Dropped -= stored.Dropped + stored.Records
	b.DroppedSize -= stored.DroppedSize + stored.Bytes
	b.Filtered -= stored.Filtered
	b.Discarded -= stored.Discarded
	b.Lost -= stored.Lost
}

// withoutBody returns a copy of a batch that does not keep its body in memory.
func (b *Batch) withoutBody() *Batch {
	c := *b
	c.Body = nil
	return &c
}
