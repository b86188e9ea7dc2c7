package ring

import "os"

// dataPage is RINGBUF_NR_META_PAGES (kernel/bpf/ringbuf.c): the number of the page of struct
// bpf_ringbuf at which the data begins.
const dataPage = 3

// RecordEnd returns the end of the record at pos. It returns false if no record that ends at or
// before prod can begin at pos. A header in a RINGBUF contains the length of the record and the
// page number of the header (__bpf_ringbuf_reserve); a payload can imitate a header.
func (m *Mapping) RecordEnd(pos, prod Pos) (end Pos, ok bool) {
	t := m.data.Tagged(pos)
	span := Span(t.Header().Len())
	page := dataPage + uint64(pos)&(m.size-1)/uint64(os.Getpagesize())
	return pos + Pos(span), uint64(t.Tag()) == page && span <= uint64(prod-pos)
}
